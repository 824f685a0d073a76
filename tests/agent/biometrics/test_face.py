import hashlib

import cv2
import face_recognition
import numpy as np
import pytest

from agent.biometrics import BiometricError, CaptureRefused, FacePipeline, ModelError, Pipelines, Purpose
from agent.biometrics import parameters as shipped
from agent.biometrics._dlib import Box, DlibEngine
from agent.biometrics._files import require_sha256
from agent.biometrics.parameters import FACE_SCALE
from hal import Frame

TOLERANCE = 3e-4
"""The converted network keeps its weights in 16 bits; no descriptor value differs more from dlib's own."""


def altered(frame: Frame, change) -> Frame:
    return Frame(np.ascontiguousarray(np.clip(change(frame.bgr.astype(np.float32)), 0, 255).astype(np.uint8)), 0, 0)


def oracle(rgb: np.ndarray, box: Box) -> np.ndarray:
    """face_recognition's descriptor of a face in a rectangle."""
    place = (box.top, box.right, box.bottom, box.left)
    return face_recognition.face_encodings(rgb, known_face_locations=[place], model="small")[0]


def test_our_descriptor_equals_that_of_face_recognition(pipelines: Pipelines, portrait, frame: Frame):
    engine = DlibEngine()
    (box,) = engine.detect(portrait)
    expected = oracle(portrait, box)
    features = pipelines.face.extract([frame]).features
    assert np.abs(features.vector / FACE_SCALE - expected).max() < TOLERANCE
    assert np.abs(engine.describe(portrait, engine.points(portrait, box)) - expected).max() < TOLERANCE
    moved = engine.describe(portrait, engine.points(portrait, box) + np.array([10.0, 0.0]))
    assert np.abs(moved - expected).max() > 10 * TOLERANCE


def test_our_descriptor_equals_that_of_face_recognition_at_its_own_defaults(portrait):
    engine = DlibEngine()
    places = face_recognition.face_locations(portrait)
    boxes = [Box(left, top, right, bottom) for top, right, bottom, left in places]
    ours = [engine.describe(portrait, engine.points(portrait, box)) for box in boxes]
    assert np.abs(np.array(ours) - np.array(face_recognition.face_encodings(portrait))).max() < TOLERANCE


@pytest.mark.realdata
def test_our_descriptor_equals_that_of_face_recognition_on_real_pictures(real_data):
    engine, compared = DlibEngine(), 0
    for path in sorted((real_data / "face/caltech_faces_easy").glob("*/*"))[::10]:
        rgb = np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])
        for box in engine.detect(rgb):
            found = engine.describe(rgb, engine.points(rgb, box))
            assert np.abs(found - oracle(rgb, box)).max() < TOLERANCE
            compared += 1
    assert compared >= 8


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "factor"), [("orl", 3), ("caltech_faces_easy", 1)])
def test_no_usable_picture_is_refused(pipelines: Pipelines, real_data, name: str, factor: int):
    for path in sorted((real_data / "face" / name).glob("*/*"))[::5]:
        picture = cv2.resize(cv2.imread(str(path)), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        assert pipelines.face.extract([Frame(picture, 0, 0)]).quality.acceptable


@pytest.mark.realdata
def test_real_people_match_themselves_and_nobody_else(pipelines: Pipelines, real_data):
    folders = sorted((real_data / "face/caltech_faces_easy").iterdir())[:4]
    people = [
        [pipelines.face.extract([Frame(cv2.imread(str(path)), 0, 0)]).features for path in sorted(folder.iterdir())[:4]]
        for folder in folders
    ]
    for person, group in enumerate(people):
        template = pipelines.enrol(group[:3])
        accepted = [pipelines.match(template, other[3]).accepted for other in people]
        assert accepted == [index == person for index in range(len(people))]


def test_a_large_picture_gives_nearly_the_same_descriptor(pipelines: Pipelines, frame: Frame):
    large = Frame(cv2.resize(frame.bgr, (1280, 1280), interpolation=cv2.INTER_CUBIC), 0, 0)
    template = pipelines.enrol([pipelines.face.extract([frame]).features])
    assert pipelines.match(template, pipelines.face.extract([large]).features).margin == 100


def test_unusable_frames_among_good_ones_do_no_harm(pipelines: Pipelines, frame: Frame):
    black = altered(frame, lambda picture: picture * 0.0)
    alone = pipelines.face.extract([frame])
    among = pipelines.face.extract([black, frame, black])
    assert among.features.to_bytes() == alone.features.to_bytes()


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda picture: picture * 0.0, "Look into the camera"),
        (lambda picture: picture * 0.15, "too dark"),
        (lambda picture: cv2.GaussianBlur(picture, (0, 0), 4.0), "blurred"),
        (lambda picture: np.hstack([picture[:, 100:400]] * 2), "Only one person"),
        (lambda picture: cv2.resize(picture, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA), "closer"),
    ],
)
def test_a_bad_picture_is_refused_with_something_to_do(pipelines: Pipelines, frame: Frame, change, hint: str):
    with pytest.raises(CaptureRefused) as caught:
        pipelines.face.extract([altered(frame, change)])
    assert hint in " ".join(caught.value.quality.reasons)


def test_live_feedback_is_that_of_the_newest_frame(pipelines: Pipelines, frame: Frame):
    dark = altered(frame, lambda picture: picture * 0.15)
    assert pipelines.face.assess([dark, frame]).acceptable
    assert not pipelines.face.assess([frame, dark]).acceptable
    assert not pipelines.face.assess([]).acceptable


def test_enrolment_asks_for_a_larger_face_than_verification(pipelines: Pipelines, frame: Frame):
    small = altered(frame, lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    assert pipelines.face.extract([small], Purpose.VERIFY)
    with pytest.raises(CaptureRefused):
        pipelines.face.extract([small], Purpose.ENROL)


class TwoPeople(DlibEngine):
    """A network that sees another person in every second picture."""

    def __init__(self, apart: float) -> None:
        super().__init__()
        self._apart, self._calls = apart, 0

    def describe(self, rgb, points):
        self._calls += 1
        descriptor = np.zeros(128)
        descriptor[self._calls % 2] = self._apart / 2**0.5
        return descriptor


def test_frames_are_averaged(frame: Frame):
    vector = FacePipeline(engine=TwoPeople(0.4)).extract([frame, frame]).features.vector
    assert sorted(vector[:2] / FACE_SCALE) == pytest.approx([0.2 / 2**0.5] * 2, abs=1e-4)
    assert not vector[2:].any()


def test_frames_of_two_people_are_refused(frame: Frame):
    assert FacePipeline(engine=TwoPeople(0.4)).extract([frame, frame])
    with pytest.raises(CaptureRefused, match="same face"):
        FacePipeline(engine=TwoPeople(0.7)).extract([frame, frame])


@pytest.mark.parametrize("shape", [(480, 640), (480, 640, 4), (20, 20, 3), (5000, 100, 3)])
def test_a_malformed_frame_is_refused(pipelines: Pipelines, shape: tuple[int, ...]):
    with pytest.raises(BiometricError):
        pipelines.face.extract([Frame(np.zeros(shape, np.uint8), 0, 0)])


def test_a_model_file_that_was_changed_is_refused(tmp_path):
    file = tmp_path / "model.dat"
    file.write_bytes(b"weights")
    with pytest.raises(ModelError, match="is pinned"):
        require_sha256(file, shipped.FACE_MODEL_SHA256)
    with pytest.raises(ModelError, match="cannot be read"):
        require_sha256(tmp_path / "absent.dat", shipped.FACE_MODEL_SHA256)
    require_sha256(file, hashlib.sha256(b"weights").hexdigest())
