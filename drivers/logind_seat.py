"""Presence by a local seat: somebody works at the machine's own screen and keyboard, as systemd-logind knows it.

The seat's active session must be a person's, local and unlocked; when the question comes out of a session, out of that
one. logind tells the asker's session from its cgroup: what its environment says (XDG_SESSION_ID) is not looked at.
Source: org.freedesktop.login1(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from drivers.dbus_access import SYSTEM_BUS, Arguments, ServiceError, ServiceLink, bus_option
from hal import (
    Absence,
    Capability,
    Clock,
    Deadline,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    NotFound,
    PermissionDenied,
    Presence,
    ProtocolError,
    SystemClock,
    Transport,
)

SERVICE = "org.freedesktop.login1"
_MANAGER_PATH, _MANAGER = "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
_SEAT, _SESSION = "org.freedesktop.login1.Seat", "org.freedesktop.login1.Session"
_OPEN_SECONDS = 10.0
_SEAT_NAME = re.compile(r"seat[A-Za-z0-9_-]{1,64}")
_KNOWN = frozenset({"bus", "seat"})

_REMEDY = "Correct the options of the driver: `seat` is a name such as 'seat0'; docs/agent.md lists them."
_INSTALL = "Install and start systemd-logind, or use the presence driver evdev-button."
_COME = "Log in at the machine's own screen and keyboard, and do it there."
_ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
_NO_SESSION = "org.freedesktop.login1.NoSessionForPID"
_NO_SEAT = "org.freedesktop.login1.NoSuchSeat"


@dataclass(frozen=True)
class _Session:
    """What decides of a session whether somebody is there."""

    identifier: str
    user: str
    active: bool
    remote: bool
    kind: str
    state: str
    seat: str
    locked: bool

    @classmethod
    def read(cls, properties: Mapping[str, tuple[str, Any]]) -> Self:
        """From the properties of org.freedesktop.login1.Session; raises `ProtocolError`."""

        def of(name: str, signature: str) -> Any:
            kind, value = properties.get(name, ("", None))
            if kind != signature:
                raise ProtocolError(f"logind gives no proper {name} of a session")
            return value

        return cls(
            identifier=of("Id", "s"),
            user=of("Name", "s"),
            active=of("Active", "b"),
            remote=of("Remote", "b"),
            kind=of("Class", "s"),
            state=of("State", "s"),
            seat=of("Seat", "(so)")[0],
            locked=of("LockedHint", "b"),
        )

    def flaw(self, seat: str) -> str:
        """Why nobody is there by this session; empty when somebody is."""
        flaws = {
            "is remote": self.remote,
            f"is a {self.kind}'s and not a person's": self.kind != "user",
            f"is not at {seat}": self.seat != seat,
            "is not the active one": not self.active or self.state != "active",
            "is locked": self.locked,
        }
        return next((flaw for flaw, has in flaws.items() if has), "")


class LogindSeatDriver:
    """The local seat; options `seat` ("seat0") and `bus` (of a simulation)."""

    kind = DeviceKind.PRESENCE

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The seat, when logind has it; raises `NotFound` without logind."""
        try:
            with self.open(options) as sensor:
                return [sensor.info]
        except _NoSeat:
            return []

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> LogindSeat:
        """The seat, by connecting to logind; it is shared. Raises `NotFound`, `PermissionDenied`, `TimedOut`."""
        address, seat = bus_option(options), _seat_option(options)
        within = (deadline or Deadline.after(_OPEN_SECONDS, self._clock)).within(_OPEN_SECONDS)
        link = ServiceLink(address, SERVICE, within, missing=_INSTALL)
        try:
            path = _object(link, "GetSeat", ("s", (seat,)), within)
            if path is None:
                raise _NoSeat(f"this machine has no {seat}", remedy="Name another seat: `loginctl list-seats`.")
        except BaseException:
            link.close()
            raise
        return LogindSeat(link, path, _described(address, seat), self._clock)


class LogindSeat:
    """A seat at which somebody may be. Made by `LogindSeatDriver.open`."""

    def __init__(self, link: ServiceLink, path: str, info: DeviceInfo, clock: Clock) -> None:
        self._link = link
        self._path = path
        self._info = info
        self._clock = clock

    @property
    def info(self) -> DeviceInfo:
        """Which seat it is."""
        return self._info

    def confirm(
        self,
        deadline: Deadline,
        on_ready: Callable[[], None] | None = None,  # noqa: ARG002 - a seat is looked at, not waited for
    ) -> Presence | Absence:
        """Look once whether somebody is at the seat; see `hal.PresenceSensor`."""
        seat = self._info.port
        active = self._active_session(deadline)
        if active is None:
            return Absence(f"nobody is logged in at {seat}", _COME)
        own = _object(self._link, "GetSessionByPID", ("u", (0,)), deadline)
        if own is not None and own != active:
            flaw = self._session(own, deadline).flaw(seat) or "is not the active one"
            return Absence(f"this was started in a session that {flaw}", _COME)
        session = self._session(active, deadline)
        flaw = session.flaw(seat)
        if flaw:
            return Absence(f"the session at {seat} {flaw}", "Unlock it." if session.locked else _COME)
        detail = f"session {session.identifier} of {session.user} at {seat}"
        return Presence("seat", detail, self._clock.monotonic_ns())

    def close(self) -> None:
        """Leave the bus; closing twice is allowed."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _active_session(self, deadline: Deadline) -> str | None:
        """The object of the session to which the seat's screen and keyboard belong now."""
        kind, active = self._properties(self._path, _SEAT, deadline).get("ActiveSession", ("", None))
        if kind != "(so)":
            raise ProtocolError("logind does not tell the active session of the seat")
        return active[1] if active[0] else None

    def _session(self, path: str, deadline: Deadline) -> _Session:
        return _Session.read(self._properties(path, _SESSION, deadline))

    def _properties(self, path: str, interface: str, deadline: Deadline) -> dict[str, tuple[str, Any]]:
        try:
            return self._link.properties(path, interface, deadline)
        except ServiceError as error:
            raise _translated(error) from None


class _NoSeat(NotFound):
    """logind is there, but not the seat."""


def _object(link: ServiceLink, member: str, arguments: Arguments, deadline: Deadline) -> str | None:
    """The object that a method of the manager finds; `None` where logind knows of none."""
    try:
        (path,) = link.call(_MANAGER_PATH, _MANAGER, member, arguments, "o", deadline)
    except ServiceError as error:
        if error.name in {_NO_SESSION, _NO_SEAT}:
            return None
        raise _translated(error) from None
    return str(path)


def _translated(error: ServiceError) -> DeviceError:
    if error.name == _ACCESS_DENIED:
        return PermissionDenied(f"logind refuses to answer: {error}", remedy="Run it as the service user or as root.")
    return DeviceError(f"logind answers by an error: {error}", remedy="Read `journalctl -u systemd-logind`.")


def _described(address: str, seat: str) -> DeviceInfo:
    return DeviceInfo(
        kind=DeviceKind.PRESENCE,
        driver="logind-seat",
        transport=Transport.SYSTEM if address == SYSTEM_BUS else Transport.VIRTUAL,
        port=seat,
        name=f"seat {seat} of systemd-logind",
        capabilities=frozenset({Capability.SHARED}),
    )


def _seat_option(options: Mapping[str, Any]) -> str:
    unknown = sorted(set(options) - _KNOWN)
    if unknown:
        raise DeviceError(f"the logind-seat driver has no option {unknown[0]!r}", remedy=_REMEDY)
    seat = options.get("seat", "seat0")
    if not isinstance(seat, str) or not _SEAT_NAME.fullmatch(seat):
        raise DeviceError("option 'seat' is not the name of a seat", remedy=_REMEDY)
    return seat
