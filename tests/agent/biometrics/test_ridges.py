import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.biometrics import BiometricError
from agent.biometrics.ridges import LONGEST, Agreement, compare, describe, elastic, read
from tests.agent.biometrics.ridges import impression

TURN, SHIFT, STRETCH = np.radians(17.0), (23.0, -14.0), 9.0
MIDDLE = (194.0, 187.0)


def turned(x, y):
    """Places of the moved press to those of the first one, before the skin stretches."""
    dx, dy = x - MIDDLE[0] - SHIFT[0], y - MIDDLE[1] - SHIFT[1]
    cos, sin = np.cos(TURN), np.sin(TURN)
    return (cos * dx - sin * dy + MIDDLE[0]).astype(np.float32), (sin * dx + cos * dy + MIDDLE[1]).astype(np.float32)


def stretched(x, y):
    """As `turned`, and the skin gives way by up to a whole ridge, differently from place to place."""
    at_x, at_y = turned(x, y)
    give_x, give_y = STRETCH * np.sin(at_y / 45.0), STRETCH * np.cos(at_x / 55.0)
    return (at_x + give_x).astype(np.float32), (at_y + give_y).astype(np.float32)


def moved(pixels, how, seed=0):
    y, x = np.mgrid[0 : pixels.shape[0], 0 : pixels.shape[1]].astype(np.float32)
    grey = cv2.remap(pixels, *how(x, y), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    noise = np.random.default_rng(seed).normal(0, 8, grey.shape)
    return np.clip(grey + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def presses():
    return {finger: impression(finger, 0).pixels for finger in (1, 2)}


@pytest.fixture(scope="module")
def maps(presses):
    return {finger: read(describe(pixels)) for finger, pixels in presses.items()}


@pytest.fixture(scope="module")
def distorted(presses):
    return {finger: read(describe(moved(pixels, stretched))) for finger, pixels in presses.items()}


def test_an_impression_agrees_with_itself_all_over(maps):
    found = compare(maps[1], maps[1], [lambda x, y: (x, y)])
    assert found.correlation > 0.95
    assert found.same_mm2 > 100.0


def test_a_turned_and_shifted_press_agrees_when_it_is_laid_right(presses, maps):
    probe = read(describe(moved(presses[1], turned)))
    assert compare(maps[1], probe, [turned]).same_mm2 > 80.0
    assert compare(maps[1], probe, [lambda x, y: (x, y)]).same_mm2 < 20.0


def test_stretched_skin_is_followed_from_the_rigid_motion_alone(maps, distorted):
    same = compare(maps[1], distorted[1], [turned])
    assert same.same_mm2 > 60.0
    assert same.correlation > 0.8


@pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 1)])
def test_another_finger_does_not_agree_however_it_is_followed(maps, distorted, one, other):
    other_finger = compare(maps[one], distorted[other], [turned, stretched])
    assert other_finger.same_mm2 < 20.0
    assert other_finger.correlation < 0.55


def test_the_best_of_several_placings_counts(maps, distorted):
    astray = lambda x, y: (x + 40, y)  # noqa: E731
    best = compare(maps[1], distorted[1], [turned])
    assert compare(maps[1], distorted[1], [astray, turned]) == best
    assert compare(maps[1], distorted[1], [astray]).same_mm2 < best.same_mm2 / 2


@pytest.mark.parametrize("placings", [[], [lambda x, y: (x + 5000, y)], [lambda x, y: (x * np.nan, y)]])
def test_without_a_placing_that_overlaps_nothing_agrees(maps, placings):
    assert compare(maps[1], maps[1], placings) == Agreement(0.0, 0.0)


def test_pairs_of_minutiae_give_the_placing_and_its_stretch(maps, distorted):
    random = np.random.default_rng(5)
    places = random.uniform(90, 290, (24, 2)).astype(np.float32)
    other = np.column_stack([places, np.zeros(24)]).astype(np.float32)
    one = np.column_stack([*stretched(*places.T), np.full(24, -TURN)]).astype(np.float32)
    place = elastic(one, other)
    probe = random.uniform(120, 260, (50, 2)).astype(np.float32)
    off = np.hypot(*(np.array(place(*probe.T)) - np.array(stretched(*probe.T))))
    rigid_off = np.hypot(*(np.array(turned(*probe.T)) - np.array(stretched(*probe.T))))
    assert np.median(off) < 0.4 * np.median(rigid_off)
    assert compare(maps[1], distorted[1], [place]).same_mm2 > 60.0


def test_one_pair_turns_by_its_direction_and_bends_nothing():
    one, other = np.array([[50, 60, 0.5]], np.float32), np.array([[10, 20, 0.5 + np.pi / 2]], np.float32)
    x, y = elastic(one, other)(np.array([10, 110], np.float32), np.array([20, 20], np.float32))
    assert np.allclose(x, [50, 50], atol=1e-3)
    assert np.allclose(y, [60, 160], atol=1e-3)


def test_the_same_picture_gives_the_same_block(presses):
    assert describe(presses[1]).tobytes() == describe(presses[1].copy()).tobytes()


def test_a_picture_without_ridges_has_no_block():
    assert describe(np.full((374, 388), 240, np.uint8)).size == 0


def test_a_picture_full_of_ridges_stays_within_the_bound_of_a_block(presses):
    whole = np.tile(presses[1][90:290, 90:290], (5, 5))
    block = describe(np.ascontiguousarray(whole))
    assert 0.9 * LONGEST < block.size <= LONGEST <= 15 * 1024
    kept = read(block)
    assert abs((kept.top + kept.weight.shape[0] / 2) * 16 - 500) < 32


def _set(block, at, value):
    changed = block.copy()
    changed[at] = value
    return changed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda block: block[:0],
        lambda block: block[:-1],
        lambda block: np.append(block, np.int16(0)),
        lambda block: block.reshape(1, -1),
        lambda block: block.astype(np.int32),
        lambda block: _set(block, 0, 2),
        lambda block: _set(block, 1, -1),
        lambda block: _set(block, 2, 32000),
        lambda block: _set(block, 3, 0),
        lambda block: _set(block, 4, -5),
        lambda block: _set(block, slice(3, 5), 32767),
        lambda block: _set(block, slice(5, None), 0),
        lambda block: np.zeros(LONGEST + 1, np.int16),
    ],
)
def test_a_block_that_is_not_sound_is_refused(presses, spoil):
    block = describe(presses[1])
    read(block)
    with pytest.raises(BiometricError):
        read(spoil(block))


@given(arrays(np.int16, st.integers(0, 40)), st.integers(1, 3), st.integers(1, 3))
def test_no_block_does_more_than_be_read_or_refused(content, rows, columns):
    for block in (content, np.concatenate([np.array([1, 0, 0, rows, columns], np.int16), content])):
        try:
            found = read(block)
        except BiometricError:
            continue
        assert found.weight.size * 64 == found.ridges.size
        assert compare(found, found, [lambda x, y: (x, y)]).correlation <= 1.001
