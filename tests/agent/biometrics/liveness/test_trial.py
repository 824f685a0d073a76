"""The state machine on heads made of numbers: what passes, and the reason for everything that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.biometrics.liveness import Cue, Head, Passed, Refused
from agent.biometrics.liveness.continuity import ABSENT, DISORDERED, FROZEN, GAPS, REPLACED, SLOW
from agent.biometrics.liveness.trial import NO_FACE, NOT_BACK, OTHER_GESTURE, TOO_EARLY, TOO_LATE
from protocol.gestures import Gesture, rows
from tests.agent.biometrics.liveness.acting import EVERY_NS, ROW, SHOWN, STRAIGHT, Actor, Plan, actor, answer

SLANTED = replace(STRAIGHT, yaw=0.11, height=STRAIGHT.height / 0.7)
"""A picture slanted by 45 degrees: its nose has moved, and its eyes have come much nearer to one another."""


def refused(played: Actor, reason: str, **more: object) -> None:
    assert played.play(**more) == Refused(reason)  # type: ignore[arg-type]


def doing(wrong: Plan, at: Gesture = ROW[0]) -> Actor:
    """Somebody who does every gesture as asked for, but at one prompt something else."""
    return actor(lambda gesture: wrong if gesture is at else answer(gesture))


@pytest.mark.parametrize("row", rows(2) + rows(3))
def test_who_does_as_asked_for_passes_whatever_the_row(row: tuple[Gesture, ...]) -> None:
    played = actor(row=row)
    assert played.play() == Passed()
    assert tuple(played.prompts) == row


def test_no_gesture_is_told_before_the_one_before_is_done() -> None:
    played = doing([(30, STRAIGHT)], at=ROW[1])
    played.play()
    assert played.prompts == list(ROW[:2])


@pytest.mark.parametrize("other", [one for one in Gesture if one is not Gesture.TURN_LEFT])
def test_another_gesture_than_the_one_asked_for_fails(other: Gesture) -> None:
    refused(doing([(4, STRAIGHT), (8, SHOWN[other]), (10, STRAIGHT)]), OTHER_GESTURE)


def test_another_gesture_on_the_way_back_fails() -> None:
    late = [(4, STRAIGHT), (4, SHOWN[ROW[0]]), (1, STRAIGHT), (4, SHOWN[Gesture.TILT_LEFT]), (9, STRAIGHT)]
    refused(doing(late), OTHER_GESTURE)


def test_a_movement_that_begins_with_its_prompt_is_no_answer() -> None:
    refused(doing([(6, SHOWN[ROW[0]]), (9, STRAIGHT)]), TOO_EARLY)


def test_the_same_movement_a_moment_later_is_one() -> None:
    assert doing([(1, STRAIGHT), (6, SHOWN[ROW[0]]), (9, STRAIGHT)]).play() == Passed()


def test_nobody_has_for_ever() -> None:
    played = doing([(80, STRAIGHT)])
    refused(played, TOO_LATE)
    assert 5.0 <= (played.now_ns - 1_000_000_000) / 1e9 - 0.7 < 5.4


def test_a_gesture_that_does_not_end_fails() -> None:
    refused(doing([(4, STRAIGHT), (80, SHOWN[ROW[0]])]), NOT_BACK)


@pytest.mark.parametrize("cues", [1, 2, 3])
def test_a_natural_blink_disturbs_no_other_gesture(cues: int) -> None:
    blinking = [(2, STRAIGHT), (cues, SHOWN[Gesture.BLINK]), *answer(ROW[0])]
    assert doing(blinking).play() == Passed()


@pytest.mark.parametrize("cues", [1, 2])
def test_a_natural_blink_is_no_answer_either(cues: int) -> None:
    assert ROW[1] is Gesture.BLINK
    refused(doing([(4, STRAIGHT), (cues, SHOWN[Gesture.BLINK]), (60, STRAIGHT)], at=ROW[1]), TOO_LATE)


def test_eyes_that_were_closed_at_the_prompt_must_open_and_close_again() -> None:
    early = [(1, SHOWN[Gesture.BLINK]), (10, SHOWN[Gesture.BLINK])]
    refused(doing([*early, (60, STRAIGHT)], at=ROW[1]), TOO_LATE)
    assert doing([*early, *answer(Gesture.BLINK)], at=ROW[1]).play() == Passed()


def test_one_frame_that_looks_like_a_gesture_is_none() -> None:
    glitch = [(2, STRAIGHT), (1, SHOWN[Gesture.TILT_LEFT]), *answer(ROW[0])]
    assert doing(glitch).play() == Passed()


def test_a_slanted_picture_is_not_a_turned_head() -> None:
    refused(doing([(4, STRAIGHT), (60, SLANTED)]), TOO_LATE)
    head = replace(SLANTED, height=STRAIGHT.height / 0.94)
    assert doing([(4, STRAIGHT), (5, head), (9, STRAIGHT)]).play() == Passed()


def test_without_a_quiet_straight_face_nothing_begins() -> None:
    for face in (None, replace(STRAIGHT, yaw=0.4), replace(STRAIGHT, roll=30.0)):
        played = actor()
        refused(played, NO_FACE, plan=[(120, face)])
        assert played.prompts == []


def test_a_restless_beginning_starts_anew_and_then_goes_on() -> None:
    played = actor()
    assert played.play([(3, STRAIGHT), (3, SHOWN[Gesture.TURN_LEFT]), (20, STRAIGHT)]) == Passed()
    assert played.again


def test_a_face_that_goes_away_fails_but_may_be_lost_for_a_moment() -> None:
    refused(doing([(3, STRAIGHT), (20, None)]), ABSENT)
    assert doing([(3, STRAIGHT), (6, None), *answer(ROW[0])]).play() == Passed()


def test_a_face_elsewhere_is_not_the_same_face() -> None:
    refused(doing([(3, STRAIGHT), (20, replace(STRAIGHT, x=60.0, y=80.0))]), ABSENT)


def test_a_face_that_moves_there_is() -> None:
    moving: list[tuple[int, Head | None]] = [(1, replace(STRAIGHT, x=320.0 - 20 * step)) for step in range(6)]
    there = replace(STRAIGHT, x=220.0)
    assert doing([*moving, (2, there), (5, replace(there, yaw=0.16)), (9, there)]).play().__class__ is not Refused


def test_a_cut_to_another_face_fails() -> None:
    refused(doing([(3, STRAIGHT), (1, replace(STRAIGHT, steady=0.1)), *answer(ROW[0])]), REPLACED)


def from_cue(number: int, **changes: object) -> dict[str, object]:
    """Cues from this number on are changed."""

    def alter(cue: Cue) -> Cue:
        return replace(cue, **changes) if cue.sequence >= number else cue  # type: ignore[arg-type]

    return {"alter": alter}


def test_the_same_picture_twice_fails() -> None:
    refused(actor(), FROZEN, **from_cue(12, repeated=True))


def test_a_number_twice_fails() -> None:
    refused(actor(), DISORDERED, **from_cue(12, sequence=11))


def test_a_time_that_stands_still_fails() -> None:
    refused(actor(), DISORDERED, **from_cue(12, at_ns=1_000_000_000 + 11 * EVERY_NS))


def test_a_time_that_jumps_fails() -> None:
    refused(actor(), GAPS, alter=lambda cue: replace(cue, at_ns=cue.at_ns + 800_000_000 * (cue.sequence >= 12)))


def test_a_prompt_may_keep_the_frames_waiting_but_not_for_ever() -> None:
    def waiting(seconds: float) -> object:
        played = actor()
        return played.play(alter=lambda cue: replace(cue, at_ns=cue.at_ns + int(seconds * 1e9) * len(played.prompts)))

    assert waiting(3.0) == Passed()
    assert waiting(9.0) == Refused(GAPS)


def test_a_camera_that_loses_a_few_pictures_is_borne_with() -> None:
    assert actor().play(alter=lambda cue: replace(cue, lost=int(cue.sequence % 20 == 0))) == Passed()
    refused(actor(), GAPS, plan=[(120, STRAIGHT)], alter=lambda cue: replace(cue, lost=2))


def test_a_camera_too_slow_to_tell_one_face_from_another_fails() -> None:
    def every(seconds: float, cut: bool) -> object:
        played = doing([(6, STRAIGHT), (1, replace(STRAIGHT, steady=0.1)), *answer(ROW[0])] if cut else answer(ROW[0]))
        first = 1_000_000_000
        return played.play(alter=lambda cue: replace(cue, at_ns=first + round((cue.at_ns - first) * seconds * 10)))

    assert every(0.2, cut=True) == Refused(REPLACED)
    assert every(0.4, cut=True) == every(0.4, cut=False) == Refused(SLOW)


def test_a_few_slow_pictures_are_borne_with() -> None:
    def late(cue: Cue) -> Cue:
        return replace(cue, at_ns=cue.at_ns + 300_000_000 * (cue.sequence // 20))

    assert actor().play(alter=late) == Passed()
