"""Each species is what its name says, and the same each time."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.attacks import FACE_SPECIES, REPLAYED, FaceAttack, FaceScene, LiveFace, face_attack
from simulators.attacks._face_scenes import Recording
from simulators.personas import Asked, shipped_personas

ASKED = (Asked("turn-left", 1.0), Asked("blink", 3.4))
RECORDED = ("tilt-left", "blink", "turn-right")


def means(seed: int = 4) -> FaceAttack:
    one, other = (persona.face for persona in shipped_personas()[:2])  # type: ignore[attr-defined]
    return FaceAttack(one, other, RECORDED, seed)


def seen(scene: FaceScene, seconds: float, asked: tuple[Asked, ...] = ASKED) -> np.ndarray:
    picture = scene.picture(seconds, [prompt for prompt in asked if prompt.at <= seconds])
    assert picture is not None
    return picture.astype(int)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of two pictures in grey levels."""
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("species", sorted(FACE_SPECIES))
def test_the_seed_alone_determines_an_attack(species: str) -> None:
    one, again, other = (face_attack(species, means(seed)).picture(0.8, ()) for seed in (4, 4, 5))
    assert one is not None and again is not None and other is not None
    assert one.shape == (480, 640, 3)
    assert one.dtype == np.uint8
    assert (one == again).all()
    assert (one != other).any()


def test_a_still_photograph_changes_by_noise_alone_and_a_moved_one_moves() -> None:
    still, moved = (face_attack(name, means()) for name in ("still-photo", "moved-photo"))
    assert 0.0 < apart(seen(still, 0.5), seen(still, 2.2)) < 4.0
    assert apart(seen(moved, 0.5), seen(moved, 2.2)) > 6.0


def test_an_injected_buffer_is_the_recording_byte_for_byte_and_with_noise_nearly() -> None:
    recording = Recording(means().victim, RECORDED, 4)
    exact, noisy = (seen(face_attack(name, means()), 1.3) for name in ("injected-buffer", "injected-with-noise"))
    assert (exact == recording.at(1.3)).all()
    assert 0.5 < apart(noisy, exact) < 3.0


def test_a_recorded_answer_does_its_own_gestures_whatever_is_asked() -> None:
    scene, recording = face_attack("recorded-answer", means()), means().recording
    assert [prompt.gesture for prompt in recording.asked] == list(RECORDED)
    for seconds in (2.0, 4.0):
        shown, then = seen(scene, seconds), recording.at(seconds - 1.0 + recording.asked[0].at).astype(int)
        assert apart(shown, 0.92 * then + 10) < 5.0


def test_a_looped_video_begins_again() -> None:
    scene, length = face_attack("looped-video", means()), means().recording.seconds
    assert apart(seen(scene, 0.7), seen(scene, 0.7 + length)) < 4.0


def test_dropped_frames_leave_out_what_was_not_asked_for() -> None:
    scene = face_attack("dropped-frames", means())
    assert scene.picture(0.5, ()) is not None
    assert scene.picture(2.0, ASKED[:1]) is None
    assert scene.picture(2.0, (Asked("tilt-left", 1.0),)) is not None


def test_frozen_frames_are_the_same_bytes_from_some_moment_on() -> None:
    scene = face_attack("frozen-frames", means())
    assert (seen(scene, 0.5) != seen(scene, 0.6)).any()
    assert (seen(scene, 8.0) == seen(scene, 9.0)).all()


def test_a_swap_shows_the_attacker_after_some_prompt() -> None:
    scene, all_asked = face_attack("swapped-person", means()), (*ASKED, Asked("tilt-left", 5.0))
    before, after = seen(scene, 0.5), seen(scene, 9.0, all_asked)
    assert (before == LiveFace(means().victim, 4).picture(0.5, ())).all()
    assert (after == LiveFace(means().attacker, 4).picture(9.0, all_asked)).all()


def test_the_species_that_replay_are_species() -> None:
    assert set(FACE_SPECIES) > REPLAYED
