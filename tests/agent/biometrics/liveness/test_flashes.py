"""The colours of a presentation: one after another, slowly, and none before it was seen well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.biometrics import parameters
from agent.biometrics.liveness import Cue, FlashTrial, Head, Passed, Refused, Show, Step
from agent.biometrics.liveness.continuity import GAPS, REPLACED, Continuity
from agent.biometrics.liveness.flashes import NOT_STILL
from agent.biometrics.liveness.posture import Posture
from agent.biometrics.liveness.reflection import OTHER
from protocol.flashes import Hue, flash_row
from protocol.gestures import Gesture
from tests.agent.biometrics.liveness.acting import SHOWN, STRAIGHT
from tests.agent.biometrics.liveness.lighting import ROW, Studio

SECOND = 1_000_000_000


class Screen:
    """Plays a trial at `fps` pictures a second; `sends` is the row that the face sends back."""

    def __init__(self, sends: tuple[Hue, ...] = ROW, fps: float = 10.0) -> None:
        posture = Posture(STRAIGHT.yaw, STRAIGHT.height, STRAIGHT.roll)
        self.trial = FlashTrial(ROW, posture, Continuity())
        self.sends, self.every = sends, round(SECOND / fps)
        self.now, self.number = SECOND, 0
        self.shown: list[tuple[Hue | None, int]] = []
        self.studio = Studio()
        self.lag_s = 0.0

    def play(self, head: Callable[[int, float], Head | None] = lambda *_: STRAIGHT, most: int = 600) -> Step:
        """The step that ended it; `head` is given the number of the colour and the seconds since it came."""
        step: Step = self.trial.begin()
        for _ in range(most):
            if isinstance(step, Show):
                self.shown.append((step.hue, self.now))
                self.trial.shown(self.now)
            if isinstance(step, Passed | Refused):
                return step
            step = self._frame(head)
        return step

    def _frame(self, head: Callable[[int, float], Head | None]) -> Step:
        self.now += self.every
        self.number += 1
        place = len(self.shown) - 1
        since = (self.now - self.shown[-1][1]) / SECOND
        seen, row = head(place, since), (None, *self.sends, None)
        hue = row[place] if since > self.lag_s else row[max(0, place - 1)]
        light = None if seen is None else self.studio.window(hue, place, 1)[0]
        return self.trial.see(Cue(self.now, self.number, head=seen), light)


def test_whoever_sends_the_colours_back_passes_and_sees_each_once() -> None:
    screen = Screen()
    assert isinstance(screen.play(), Passed)
    assert [hue for hue, _ in screen.shown] == [None, *ROW, None]
    assert screen.now / SECOND < 7


def test_whoever_sends_others_back_does_not() -> None:
    assert Screen(flash_row(9, 4)).play() == Refused(OTHER)


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0, 120.0])
def test_there_are_never_three_flashes_in_a_second(fps: float) -> None:
    """A flash is two changes (WCAG 2.3.1): of these, a second has no more than two."""
    screen = Screen(fps=fps)
    assert isinstance(screen.play(), Passed)
    times = [at for _, at in screen.shown]
    gaps = [(later - earlier) / SECOND for earlier, later in pairwise(times)]
    assert min(gaps) >= parameters.FLASH_SECONDS - 1e-6
    assert 1 / parameters.FLASH_SECONDS <= 2


def test_frames_that_the_panel_had_not_lit_yet_do_not_count() -> None:
    """The face still has the colour of before, for a quarter of a second."""

    late = Screen(fps=20.0)
    late.lag_s = 0.25
    assert isinstance(late.play(), Passed)
    later = Screen(fps=20.0)
    later.lag_s = 0.55
    assert later.play() == Refused(OTHER)


def test_a_face_that_is_turned_or_away_is_waited_for_and_then_refused() -> None:
    turned, away = SHOWN[Gesture.TURN_LEFT], None
    for other in (turned, away):
        brief = Screen()
        assert isinstance(brief.play(lambda place, since, other=other: other if since < 0.5 else STRAIGHT), Passed)  # type: ignore[misc]
    long = Screen()
    assert long.play(lambda place, _: turned if place == 2 else STRAIGHT) == Refused(NOT_STILL)
    assert len(long.shown) == 3
    assert (long.now - long.shown[-1][1]) / SECOND == pytest.approx(parameters.FLASH_STEP_SECONDS, abs=0.2)


def test_no_colour_ends_on_a_frame_without_the_face() -> None:
    """What is shown next, and what else is looked at then, is for somebody who is there."""
    screen = Screen(fps=20.0)
    gone: list[bool] = []

    def often_away(_: int, since: float) -> Head | None:
        gone.append(0.5 < since < 0.75)
        return None if gone[-1] else STRAIGHT

    step: Step = screen.trial.begin()
    while not isinstance(step, Passed | Refused):
        if isinstance(step, Show):
            assert not (gone and gone[-1])
            screen.shown.append((step.hue, screen.now))
            screen.trial.shown(screen.now)
        step = screen._frame(often_away)
    assert isinstance(step, Passed)
    assert not gone[-1]


def test_another_face_in_the_middle_is_told() -> None:
    other = replace(STRAIGHT, steady=0.1)
    assert Screen().play(lambda place, _: other if place == 3 else STRAIGHT) == Refused(REPLACED)


def test_a_pause_of_the_camera_ends_it() -> None:
    screen = Screen()

    def late(place: int, _: float) -> Head:
        screen.every = 2 * SECOND if place == 2 else screen.every
        return STRAIGHT

    assert screen.play(late) == Refused(GAPS)
