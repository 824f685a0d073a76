import cv2
import face_recognition_models
import numpy as np
import pytest
from skimage import data

from agent.biometrics import Purpose
from agent.biometrics._dlib import Box, DlibEngine
from agent.biometrics._face_finder import FaceFinder
from agent.biometrics._face_quality import judge


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.fixture(scope="module")
def engine() -> DlibEngine:
    return DlibEngine()


def in_a_room(portrait: np.ndarray, width: int, left: int) -> np.ndarray:
    """A grey 640 x 480 picture with the head of the portrait, `width` pixels across the whole cut, at `left`."""
    head = cv2.resize(portrait[20:220, 120:320], (width, width), interpolation=cv2.INTER_AREA)
    room = np.full((480, 640, 3), 120, np.uint8)
    room[100 : 100 + width, left : left + width] = head
    return room


def shared(one: Box, other: Box) -> float:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    areas = sum((box.right - box.left) * (box.bottom - box.top) for box in (one, other))
    both = max(across, 0) * max(down, 0)
    return both / (areas - both)


def test_the_converted_detector_finds_what_dlib_s_own_finds(finder: FaceFinder, portrait):
    dlib = pytest.importorskip("dlib")
    network = dlib.cnn_face_detection_model_v1(face_recognition_models.cnn_face_detector_model_location())
    head = np.ascontiguousarray(portrait[20:220, 120:320])
    (expected,) = network(head, 0)
    (found,) = finder.find(head)
    place = expected.rect
    own = Box(place.left(), place.top(), place.right(), place.bottom())
    assert shared(found, own) > 0.6
    assert found.confidence == pytest.approx(expected.confidence, abs=0.1)
    assert shared(found, Box(own.left + own.width, own.top, own.right + own.width, own.bottom)) < 0.2


@pytest.mark.parametrize("name", ["brick", "grass", "gravel", "coins", "text", "page", "chelsea", "coffee", "clock"])
def test_nothing_is_found_where_nobody_is(finder: FaceFinder, name: str):
    picture = getattr(data, name)()
    rgb = picture if picture.ndim == 3 else np.dstack([picture] * 3)
    assert not finder.find(np.ascontiguousarray(rgb[..., :3]))


@pytest.mark.parametrize("width", [160, 200, 350])
def test_near_and_far_faces_are_found_at_their_place(finder: FaceFinder, portrait, width: int):
    (near,) = finder.find(in_a_room(portrait, width, 60))
    (moved,) = finder.find(in_a_room(portrait, width, 160))
    assert moved.left - near.left == pytest.approx(100, abs=0.12 * near.width)
    assert near.width == pytest.approx(0.47 * width, rel=0.25)


def test_a_face_is_followed_from_frame_to_frame(finder: FaceFinder, portrait):
    (before,) = finder.find(in_a_room(portrait, 200, 100))
    (after,) = finder.follow(in_a_room(portrait, 200, 120), before)
    assert after.left - before.left == pytest.approx(20, abs=0.12 * before.width)
    assert not finder.follow(in_a_room(portrait, 200, 400), before)


def test_a_box_fits_the_picture_that_it_is_scaled_to():
    assert Box(10, 20, 30, 60, 0.9).scaled(2.0) == Box(20, 40, 60, 120, 0.9)


def test_two_people_as_far_away_are_two(finder: FaceFinder, portrait):
    both = in_a_room(portrait, 200, 60)
    both[100:300, 380:580] = both[100:300, 60:260]
    assert len(finder.find(both)) == 2


def test_a_face_at_the_edge_of_the_picture_is_found(finder: FaceFinder, portrait):
    assert finder.find(np.ascontiguousarray(portrait[50:220, 170:290]))


def test_a_grey_picture_shows_the_same_face(engine: DlibEngine, portrait):
    grey = np.ascontiguousarray(np.dstack([cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)] * 3))
    (box,) = engine.detect(grey)
    (own,) = engine.detect(portrait)
    apart = engine.describe(grey, engine.points(grey, box)) - engine.describe(portrait, engine.points(portrait, own))
    assert np.linalg.norm(apart) < 0.4


HIDDEN = {
    "eyes": (-12, 14, -40, 40, 35),
    "mouth": (18, 80, -40, 40, 210),
}


@pytest.mark.parametrize("part", HIDDEN)
def test_a_covered_face_is_refused_or_not_found(engine: DlibEngine, portrait, part: str):
    (box,) = engine.detect(portrait)
    points = engine.points(portrait, box)
    assert judge(portrait, points, Purpose.VERIFY, box.confidence).acceptable
    x, y = points[:4].mean(axis=0).astype(int)
    top, bottom, left, right, grey = HIDDEN[part]
    covered = portrait.copy()
    covered[y + top : y + bottom, x + left : x + right] = grey
    finds = engine.detect(covered)
    judged = [judge(covered, engine.points(covered, one), Purpose.VERIFY, one.confidence) for one in finds]
    assert not any(quality.acceptable for quality in judged)


def test_half_a_face_scores_low(engine: DlibEngine, portrait):
    (box,) = engine.detect(portrait)
    x = int(engine.points(portrait, box)[:4, 0].mean())
    covered = portrait.copy()
    covered[:, x : x + 80] = 150
    (seen,) = engine.detect(covered)
    half = judge(covered, engine.points(covered, seen), Purpose.VERIFY, seen.confidence)
    whole = judge(portrait, engine.points(portrait, box), Purpose.VERIFY, box.confidence)
    assert half.score < whole.score - 25


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_blur_lowers_the_score(engine: DlibEngine, portrait, sigma: float):
    (box,) = engine.detect(portrait)
    points = engine.points(portrait, box)
    sharp = judge(portrait, points, Purpose.VERIFY, box.confidence)
    blurred = judge(cv2.GaussianBlur(portrait, (0, 0), sigma), points, Purpose.VERIFY, box.confidence)
    assert blurred.score < sharp.score


def test_light_from_one_side_lowers_the_score(engine: DlibEngine, portrait):
    (box,) = engine.detect(portrait)
    points = engine.points(portrait, box)
    shade = np.ones(portrait.shape[1])
    shade[: int(points[4, 0])] = 0.15
    lit = (portrait * shade[np.newaxis, :, np.newaxis]).astype(np.uint8)
    quality = judge(lit, points, Purpose.VERIFY, box.confidence)
    assert any("light" in reason for reason in quality.reasons)
    assert quality.score < judge(portrait, points, Purpose.VERIFY, box.confidence).score
