from __future__ import annotations

import json
import threading
import time
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from agent.config import PromptSection
from agent.hooks import HookFailed, run_hook
from agent.prompting import HookPrompter, ResultNote, Step, SummonsCall, build_prompter


def call(admins: list[str]) -> SummonsCall:
    return SummonsCall(
        node="node-a", challenge_id="c1", admins=admins, modalities=["face"], reason="scheduled", expires_at=9e9
    )


def hook(script: str, timeout_s: float = 10.0) -> HookPrompter:
    return HookPrompter(["sh", "-c", script], timeout_s, threading.Event())


def test_a_hook_gets_its_message_on_standard_input_and_a_small_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    answer = run_hook(["sh", "-c", "cat; env"], b'{"kind":"test"}\n', 10)
    assert answer.status == 0
    assert answer.output.startswith(b'{"kind":"test"}\n')
    assert b"SECRET_OF_THE_AGENT" not in answer.output


def test_a_slow_hook_is_ended_with_its_children() -> None:
    began = time.monotonic()
    with pytest.raises(HookFailed, match="did not end"):
        run_hook(["sh", "-c", "sleep 600 & wait"], b"", 0.2)
    assert time.monotonic() - began < 5


def test_stopping_the_agent_ends_a_hook() -> None:
    abort = threading.Event()
    abort.set()
    with pytest.raises(HookFailed):
        run_hook(["sleep", "600"], b"", 600, abort)


def test_a_hook_that_does_not_exist_is_an_error_with_a_remedy() -> None:
    with pytest.raises(HookFailed, match="No such file") as failure:
        run_hook(["/nonexistent/hook"], b"", 1)
    assert failure.value.remedy


def test_a_roster_of_one_needs_no_name() -> None:
    assert hook("cat >/dev/null").summon(call(["alice"])) == "alice"


def test_a_roster_of_two_needs_one() -> None:
    assert hook("cat >/dev/null").summon(call(["alice", "bob"])) is None
    assert hook("""echo '{"admin": "bob"}'""").summon(call(["alice", "bob"])) == "bob"


@pytest.mark.parametrize("script", ["exit 1", 'echo \'{"admin": "mallory"}\'', "echo not json", "echo '[1]'; exit 3"])
def test_an_answer_that_names_nobody_of_the_roster_is_nobody(script: str) -> None:
    assert hook(script).summon(call(["alice", "bob"])) is None


def test_a_step_carries_digits_and_gestures() -> None:
    step = Step(
        node="node-a",
        admin="alice",
        purpose="challenge",
        step="voice",
        action="speak",
        attempt=1,
        of=1,
        digits="4719",
        gestures=["blink"],
        instruction="Say clearly: 4 7 1 9",
        seconds=20.0,
    )
    script = """grep -q '"digits":"4719"' && exit 0; exit 1"""
    assert hook(script).instruct(step)
    assert not hook("exit 1").instruct(step)


def test_a_result_names_its_kind(tmp_path: object) -> None:
    captured = run_hook(["cat"], msgspec.json.encode(_note()), 5).output
    assert json.loads(captured)["kind"] == "result"


def test_without_a_terminal_or_a_hook_nobody_is_prompted() -> None:
    section = PromptSection(hook=[], terminal=True)
    with Path("/dev/null").open() as nothing:
        assert not build_prompter(section, threading.Event(), source=nothing)


def _note() -> ResultNote:
    return ResultNote(node="node-a", challenge_id="c1", outcome="accepted", reason="")


def test_a_child_that_left_the_group_does_not_hold_the_agent_up() -> None:
    """It keeps the hook's output open for ever, and no signal to the group reaches it."""
    began = time.monotonic()
    with pytest.raises(HookFailed, match="did not end"):
        run_hook(["sh", "-c", "setsid sleep 20 & exit 0"], b"", 0.5)
    assert time.monotonic() - began < 5


def test_a_hook_that_prints_without_end_does_not_fill_the_memory() -> None:
    tracemalloc.start()
    try:
        answer = run_hook(["sh", "-c", "head -c 20000000 /dev/zero; exit 4"], b"", 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status == 4
    assert len(answer.output) == 64 * 1024
    assert peak < 1_000_000


def test_a_hook_that_reads_nothing_of_a_long_message_still_answers() -> None:
    assert run_hook(["sh", "-c", "echo done"], bytes(1_000_000), 10).output == b"done\n"
    assert run_hook(["sh", "-c", "wc -c"], bytes(1_000_000), 10).output.strip() == b"1000000"
