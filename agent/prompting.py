"""Reaching the person: a terminal, and a hook command for whatever else a site has."""

from __future__ import annotations

import json
import logging
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TextIO

import msgspec
from rich.console import Console
from rich.markup import escape

from agent.config import PromptSection
from agent.errors import AgentError
from agent.hooks import run_hook
from agent.log import event, printable

HOOK_VERSION = 1
_POLL_S = 0.25


class SummonsCall(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="summons"):
    """Somebody of `admins` is to come to the sensors before `expires_at` (POSIX seconds)."""

    version: int = HOOK_VERSION
    node: str
    challenge_id: str
    admins: list[str]
    modalities: list[str]
    reason: str
    expires_at: float


class Step(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="present"):
    """What the person does next. Capture begins when the prompt returns; `seconds` is how long it then waits.

    `step` is the modality and `action` its word for what to do; docs/agent.md has ours.
    """

    version: int = HOOK_VERSION
    node: str
    admin: str
    purpose: Literal["enrolment", "challenge"]
    step: str
    action: str
    attempt: int
    of: int
    digits: str = ""
    gestures: list[str] = []
    instruction: str
    seconds: float


class Feedback(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="feedback"):
    """How good a sample of an enrolment was: `quality` 0 to 100, `done` of `of` good ones so far."""

    version: int = HOOK_VERSION
    node: str
    step: str
    accepted: bool
    quality: int
    reason: str
    done: int
    of: int


class ResultNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="result"):
    """How a presentation ended."""

    version: int = HOOK_VERSION
    node: str
    challenge_id: str
    outcome: str
    reason: str


class Prompter(Protocol):
    """A way to reach the person; every method blocks and may be called from any thread."""

    def summon(self, call: SummonsCall) -> str | None:
        """Wait until somebody is there: their name of `call.admins`; `None` when nobody came."""
        ...

    def instruct(self, step: Step) -> bool:
        """Tell the person what to do; false when they cannot."""
        ...

    def feedback(self, feedback: Feedback) -> None:
        """Tell the person how good a sample was."""
        ...

    def result(self, note: ResultNote) -> None:
        """Tell the person how it ended."""
        ...


class HookPrompter:
    """Runs the configured command once per message; docs/agent.md has the contract."""

    def __init__(self, argv: Sequence[str], timeout_s: float, abort: threading.Event) -> None:
        self._argv = argv
        self._timeout_s = timeout_s
        self._abort = abort

    def summon(self, call: SummonsCall) -> str | None:
        """Exit status 0: the person is there, named by `{"admin": …}` on standard output or alone on the roster."""
        output = self._run(call)
        if output is None:
            return None
        return _named(output, call.admins)

    def instruct(self, step: Step) -> bool:
        """Exit status 0: the person was told and does it now."""
        return self._run(step) is not None

    def feedback(self, feedback: Feedback) -> None:
        """The exit status is ignored."""
        self._run(feedback)

    def result(self, note: ResultNote) -> None:
        """The exit status is ignored."""
        self._run(note)

    def _run(self, message: msgspec.Struct) -> bytes | None:
        try:
            answer = run_hook(self._argv, msgspec.json.encode(message) + b"\n", self._timeout_s, self._abort)
        except AgentError as error:
            event(logging.WARNING, "the prompt hook failed", error=str(error))
            return None
        return answer.output if answer.status == 0 else None


class TerminalPrompter:
    """Speaks to a person at the terminal that the agent runs in."""

    def __init__(self, console: Console, source: TextIO, abort: threading.Event, now: Callable[[], float]) -> None:
        self._console = console
        self._source = source
        self._abort = abort
        self._now = now

    def summon(self, call: SummonsCall) -> str | None:
        """Ask for a name, or for Enter when the roster has one; `None` when the summons expires first."""
        until = time.strftime("%H:%M:%S", time.localtime(call.expires_at))
        names = ", ".join(_shown(name) for name in call.admins)
        self._say(f"[bold]Attestation is due before {until}.[/] Administrators: {names}")
        self._say("Stand at the sensors, then press Enter" + (" or type your name." if len(call.admins) > 1 else "."))
        while (line := self._line(call.expires_at)) is not None:
            name = line.strip() or (call.admins[0] if len(call.admins) == 1 else "")
            if name in call.admins:
                return name
            self._say("That is none of the names above; try again.")
        return None

    def instruct(self, step: Step) -> bool:
        """Show the instruction."""
        self._say(f"[bold]{step.step}[/] ({step.attempt} of {step.of}): {_shown(step.instruction)}")
        return True

    def feedback(self, feedback: Feedback) -> None:
        """Show quality and reason."""
        if feedback.accepted:
            self._say(f"[green]good[/] {feedback.step} {feedback.done} of {feedback.of}, quality {feedback.quality}")
        else:
            self._say(f"[yellow]again[/] {feedback.step}: {_shown(feedback.reason)} (quality {feedback.quality})")

    def result(self, note: ResultNote) -> None:
        """Show the outcome."""
        self._say(f"[bold]{_shown(note.outcome)}[/]: {_shown(note.reason)}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)

    def _line(self, until: float) -> str | None:
        while not self._abort.is_set() and self._now() < until:
            ready, _, _ = select.select([self._source], [], [], _POLL_S)
            if ready:
                return self._source.readline() or None
        return None


class PromptChain:
    """Several prompters: the first that finds somebody answers a summons, all of them show what comes after."""

    def __init__(self, prompters: Sequence[Prompter]) -> None:
        self.prompters = tuple(prompters)

    def __bool__(self) -> bool:
        return bool(self.prompters)

    def summon(self, call: SummonsCall) -> str | None:
        """The first answer."""
        return next((name for prompter in self.prompters if (name := prompter.summon(call)) is not None), None)

    def instruct(self, step: Step) -> bool:
        """Whether every prompter could tell the person."""
        told = [prompter.instruct(step) for prompter in self.prompters]
        return all(told)

    def feedback(self, feedback: Feedback) -> None:
        """Show it everywhere."""
        for prompter in self.prompters:
            prompter.feedback(feedback)

    def result(self, note: ResultNote) -> None:
        """Show it everywhere."""
        for prompter in self.prompters:
            prompter.result(note)


def build_prompter(
    section: PromptSection, abort: threading.Event, *, source: TextIO | None = None, console: Console | None = None
) -> PromptChain:
    """The configured prompters; the terminal takes part only where standard input is one."""
    prompters: list[Prompter] = []
    if section.hook:
        prompters.append(HookPrompter(section.hook, section.hook_timeout_s, abort))
    source = source or sys.stdin
    if section.terminal and source is not None and source.isatty():
        prompters.append(TerminalPrompter(console or Console(stderr=True), source, abort, time.time))
    return PromptChain(prompters)


def _shown(text: str) -> str:
    """Text from elsewhere, neither control characters nor markup in it."""
    return escape(printable(text))


def _named(output: bytes, admins: Sequence[str]) -> str | None:
    """The name that a hook answered with; a roster of one needs none."""
    try:
        answer = json.loads(output) if output.strip() else {}
    except ValueError:
        event(logging.WARNING, "the prompt hook printed something that is not JSON")
        return None
    name = answer.get("admin") if isinstance(answer, dict) else None
    if name is None and len(admins) == 1:
        return admins[0]
    if name not in admins:
        event(logging.WARNING, "the prompt hook named nobody of the roster")
        return None
    return str(name)
