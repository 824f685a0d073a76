"""A claimed reader: enrolment and verification as fprintd conducts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from drivers.dbus_access import NOTHING, Arguments, ServiceLink
from drivers.fprintd._errors import ReaderFailed, mapped_errors
from hal import (
    Clock,
    Deadline,
    DeviceError,
    DeviceInfo,
    Disconnected,
    EnrolStage,
    Finger,
    MatchOutcome,
    NotFound,
    ProtocolError,
    ScanHint,
    TimedOut,
)

DEVICE = "net.reactivated.Fprint.Device"

_STOP_SECONDS = 0.05
"""For sending a stop when no time is left: it is written to a local socket."""

_RELEASE_SECONDS = 1.0
"""For the daemon to release the reader at closing; leaving the bus releases it in any case."""

_HINTS = {
    "retry-scan": ScanHint.AGAIN,
    "swipe-too-short": ScanHint.TOO_SHORT,
    "finger-not-centered": ScanHint.NOT_CENTRED,
    "remove-and-retry": ScanHint.LIFT_FIRST,
}
_FAILURES = {
    "failed": ("the scans make no template", "Clean finger and reader, then enrol again."),
    "data-full": ("the reader's memory is full", "Remove templates that are not needed, then enrol again."),
    "duplicate": ("the reader has this finger already", "Enrol another finger, or remove the old template."),
}


class FprintdReader:
    """A claimed reader. Made by `FprintdDriver.open`. Not thread safe."""

    def __init__(self, link: ServiceLink, path: str, info: DeviceInfo, user: str, clock: Clock) -> None:
        self._link = link
        self._path = path
        self._info = info
        self._user = user
        self._clock = clock
        self._sequence = 0
        self._stopping: tuple[int, str] | None = None
        self._open = True

    @property
    def info(self) -> DeviceInfo:
        """Who and where the reader is."""
        return self._info

    def enrol(self, finger: Finger, deadline: Deadline, on_stage: Callable[[EnrolStage], None] | None = None) -> None:
        """Take a template of `finger`, in place of an earlier one of it; see `hal.MatchOnlyReader`."""
        tell = on_stage or (lambda _: None)
        stages = self._stages(deadline)
        passed = 0
        with self._action("Enroll", finger, deadline):
            tell(EnrolStage(passed, stages))
            while True:
                status, done = self._status("Enroll", "waiting for the finger to enrol", deadline)
                if (status, done) == ("completed", True):
                    tell(EnrolStage(stages, stages))
                    return
                if (status, done) == ("stage-passed", False):
                    passed += 1
                    tell(EnrolStage(passed, stages))
                else:
                    tell(EnrolStage(passed, stages, _hint(status, done)))

    def verify(
        self,
        deadline: Deadline,
        on_ready: Callable[[], None] | None = None,
        on_hint: Callable[[ScanHint], None] | None = None,
        finger: Finger | None = None,
    ) -> MatchOutcome:
        """Wait for a scan and compare it with what is enrolled; see `hal.MatchOnlyReader`.

        Without `finger`, a reader that cannot identify compares with the first enrolled finger only.
        """
        with self._action("Verify", finger or "any", deadline):
            if on_ready is not None:
                on_ready()
            while True:
                status, done = self._status("Verify", "waiting for the finger", deadline)
                if status in ("match", "no-match") and done:
                    self._sequence += 1
                    return MatchOutcome(status == "match", self._sequence, self._clock.monotonic_ns())
                hint = _hint(status, done)
                if on_hint is not None:
                    on_hint(hint)

    def enrolled(self, deadline: Deadline) -> tuple[Finger, ...]:
        """The fingers of the configured user that have a template, in the order of `Finger`."""
        self._settle(deadline)
        try:
            (names,) = self._call("ListEnrolledFingers", ("s", (self._user,)), "as", deadline)
        except NotFound:
            return ()
        unknown = set(names) - set(Finger)
        if unknown:
            raise ProtocolError(f"fprintd names a finger that there is not: {min(unknown)[:40]!r}")
        return tuple(finger for finger in Finger if finger in names)

    def forget(self, finger: Finger, deadline: Deadline) -> None:
        """Remove the template of `finger`; raises `NotFound` when there is none."""
        self._settle(deadline)
        self._call("DeleteEnrolledFinger", ("s", (str(finger),)), "", deadline)

    def close(self) -> None:
        """Release the reader and leave the bus; closing twice is allowed.

        A daemon that has not even ended the last scan is not waited for.
        """
        if not self._open:
            return
        self._open = False
        try:
            if self._stopping is None:
                with suppress(DeviceError):
                    self._call("Release", NOTHING, "", Deadline.after(_RELEASE_SECONDS, self._clock))
        finally:
            self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _action(self, action: str, finger: str, deadline: Deadline) -> Iterator[None]:
        """What runs inside has the daemon scan; it is stopped on every way out."""
        self._settle(deadline)
        self._link.forget_signals()
        try:
            self._call(f"{action}Start", ("s", (str(finger),)), "", deadline)
            yield
        except ReaderFailed:
            self._stop(action, deadline)
            self._reclaim(deadline)
            raise
        except BaseException:
            self._stop(action, deadline)
            raise
        self._stop(action, deadline)

    def _stop(self, action: str, deadline: Deadline) -> None:
        """End the scan. When no time is left to hear that it ended, the next call waits for that."""
        at_least = Deadline.after(_STOP_SECONDS, deadline.clock)
        member = f"{action}Stop"
        with suppress(DeviceError):
            sending = max(deadline, at_least, key=lambda one: one.at_ns)
            self._stopping = (self._link.send(self._path, DEVICE, member, NOTHING, sending), member)
            self._settle(deadline)

    def _settle(self, deadline: Deadline) -> None:
        """Wait until the last scan has ended; that there was none any more is as good."""
        if self._stopping is None:
            return
        serial, member = self._stopping
        try:
            self._link.reply(serial, member, "", deadline)
        except (TimedOut, Disconnected):
            raise
        except DeviceError:
            pass
        self._stopping = None

    def _reclaim(self, deadline: Deadline) -> None:
        """Release and claim again, which resets the reader; `Disconnected` when it is there no more.

        libfprint closes a reader that was removed with an error, and may even open it again before it forgets it.
        """
        try:
            self._call("Release", NOTHING, "", deadline)
        except ReaderFailed as error:
            raise Disconnected(f"{error}: it was unplugged, or needs to be") from None
        self._call("Claim", ("s", (self._user,)), "", deadline)

    def _status(self, action: str, what: str, deadline: Deadline) -> tuple[str, bool]:
        """The next word of the daemon on this action, without the action's prefix, and whether it is its last."""
        while True:
            signal = self._link.next_signal(what, deadline)
            if signal.path == self._path and signal.member == f"{action}Status":
                status, done = signal.values("sb")
                return status.removeprefix(f"{action.lower()}-"), done

    def _stages(self, deadline: Deadline) -> int:
        self._settle(deadline)
        with mapped_errors("asking for the number of scans"):
            found = self._link.properties(self._path, DEVICE, deadline)
        kind, stages = found.get("num-enroll-stages", ("", -1))
        if kind != "i" or stages < 1:
            raise ProtocolError(f"fprintd says that an enrolment takes {stages!r} scans")
        return int(stages)

    def _call(self, member: str, arguments: Arguments, returns: str, deadline: Deadline) -> tuple[Any, ...]:
        with mapped_errors(f"{self._info.name}: {member}"):
            return self._link.call(self._path, DEVICE, member, arguments, returns, deadline)


def _hint(status: str, done: bool) -> ScanHint:
    """Why a scan did not count; raises for a status that ends the action."""
    if status in _HINTS and not done:
        return _HINTS[status]
    if status == "disconnected":
        raise Disconnected("the reader was unplugged")
    if status == "unknown-error":
        raise ReaderFailed("the reader failed, and fprintd does not say why")
    if status in _FAILURES:
        reason, remedy = _FAILURES[status]
        raise DeviceError(reason, remedy=remedy)
    raise ProtocolError(f"fprintd reports the status {status[:60]!r}, last={done}")
