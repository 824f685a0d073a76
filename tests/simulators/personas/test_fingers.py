"""Synthetic fingers before NIST's extractor, bozorth3 and NFIQ 2."""

from __future__ import annotations

import time
from itertools import combinations, product

import numpy as np
import pytest

from simulators.personas._finger import SyntheticFinger
from simulators.personas._pattern import PatternClass
from tests.simulators.personas.conftest import FingerMatcher

FINGERS = 8
IMPRESSIONS = 4
KINDS = tuple(PatternClass)


@pytest.fixture(scope="module")
def fingers() -> tuple[SyntheticFinger, ...]:
    return tuple(SyntheticFinger(100 + n, KINDS[n % len(KINDS)]) for n in range(FINGERS))


@pytest.fixture(scope="module")
def templates(fingers: tuple[SyntheticFinger, ...], finger_matcher: FingerMatcher) -> list[list[object]]:
    return [[finger_matcher.minutiae(f.impression(n)[0]) for n in range(IMPRESSIONS)] for f in fingers]


def test_impressions_of_one_finger_match_one_another(templates):
    scores = [a.compare(b) for finger in templates for a, b in combinations(finger, 2)]
    assert np.mean(np.array(scores) >= 40) >= 0.97
    assert np.percentile(scores, 10) >= 60


def test_impressions_of_two_fingers_do_not_match(templates):
    scores = [a.compare(b) for one, other in combinations(templates, 2) for a, b in product(one, other)]
    assert np.percentile(scores, 99) < 25
    assert max(scores) < 30


def test_a_careful_touch_is_of_good_quality(fingers, finger_matcher):
    assert min(finger_matcher.nfiq2(finger.impression(n)[0]) for finger in fingers for n in (0, 1)) >= 40


@pytest.mark.slow
def test_a_sloppy_touch_is_poorer_but_often_still_the_same_finger(fingers, templates, finger_matcher):
    touches = [(k, finger.impression(50 + n, care=0.2)[0]) for k, finger in enumerate(fingers) for n in (0, 1)]
    qualities = [finger_matcher.nfiq2(pixels) for _, pixels in touches]
    assert np.median(qualities) < 35
    best = [max(t.compare(finger_matcher.minutiae(pixels)) for t in templates[k][:4]) for k, pixels in touches]
    assert np.mean(np.array(best) >= 25) >= 0.5


def test_care_changes_the_touch_and_not_the_finger(fingers):
    """The control of the sloppy touch: with care 0.6 every finger still matches itself well."""
    matcher = FingerMatcher()
    for finger in fingers[:4]:
        careful, hasty = finger.impression(0)[0], finger.impression(60, care=0.6)[0]
        assert matcher.minutiae(careful).compare(matcher.minutiae(hasty)) >= 40


def test_every_pattern_class_has_its_singular_points(fingers):
    """The Poincaré index, summed over the master: loops and whorls turn by half turns, arches do not turn."""
    from simulators.personas._fields import rng_of
    from simulators.personas._pattern import draw_pattern

    cores = {kind: _cores(draw_pattern(kind, rng_of(7, 0)).orientation) for kind in PatternClass}
    assert cores[PatternClass.ARCH] == 0
    assert cores[PatternClass.LEFT_LOOP] == cores[PatternClass.RIGHT_LOOP] == 1
    assert cores[PatternClass.WHORL] == 2


def _cores(orientation: np.ndarray) -> int:
    """Closed paths of four pixels around which the orientation turns by +half a turn."""
    corners = [orientation[:-1, :-1], orientation[1:, :-1], orientation[1:, 1:], orientation[:-1, 1:]]
    turns = np.zeros(corners[0].shape)
    for here, there in zip(corners, [*corners[1:], corners[0]], strict=True):
        turns += (there - here + np.pi / 2) % np.pi - np.pi / 2
    return int(np.sum(np.rint(turns / np.pi) == 1))


def test_growing_and_pressing_are_fast():
    finger = SyntheticFinger(900, PatternClass.WHORL)
    started = time.process_time()
    finger.impression(0)
    assert time.process_time() - started < 1.5
    spent = []
    for n in range(1, 6):
        started = time.process_time()
        finger.impression(n)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.05


def test_the_shipped_personas_have_fingers_of_their_own(personas, finger_matcher):
    first, second = ([finger_matcher.minutiae(p.finger(n)[0]) for p in personas] for n in (0, 7))
    scores = np.array([[a.compare(b) for b in second] for a in first])
    others = scores[~np.eye(len(personas), dtype=bool)]
    assert np.diag(scores).min() >= 40
    assert others.max() < 25


def test_the_second_finger_of_a_persona_is_another_one(personas, finger_matcher):
    person = personas[0]
    first = finger_matcher.minutiae(person.finger(0)[0])
    second, again = (finger_matcher.minutiae(person.finger(n, which=1)[0]) for n in (0, 7))
    assert second.compare(again) >= 40
    assert first.compare(second) < 25
