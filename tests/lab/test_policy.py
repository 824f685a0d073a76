"""The demo's policy: what it demands of people, and of people made of recordings."""

from __future__ import annotations

import pytest

from authority.trust import parse_policy
from simulators.lab.policy import demo_policy


@pytest.mark.parametrize(("recordings", "objection"), [(False, "voice must have spoken-digits"), (True, "")])
def test_only_people_made_of_recordings_need_not_speak_the_digits(recordings: bool, objection: str) -> None:
    rules = parse_policy(demo_policy(recordings=recordings)).enrolment
    assert rules.objection("voice", set()) == objection
    assert rules.objection("face", set()) == "face must have gestures"
