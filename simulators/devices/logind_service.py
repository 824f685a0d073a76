"""systemd-logind as a program sees it over D-Bus: seats, sessions that come, go and are switched between.

Source: org.freedesktop.login1(5), sd-login(3).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from jeepney import DBusErrorResponse

from simulators.devices.dbus import BusService, Call, PrivateBus, Refusal, Reply

SERVICE = "org.freedesktop.login1"
_ROOT = "/org/freedesktop/login1"
_MANAGER, _SEAT, _SESSION = (f"{SERVICE}.{name}" for name in ("Manager", "Seat", "Session"))
_NOWHERE = ("", "/")
_FIRST_UID = 1000


@dataclass(frozen=True)
class SeatSession:
    """One session: `kind` is its class ("user", "greeter", "background"); one over the network has no `seat`."""

    identifier: str
    user: str = "alice"
    seat: str = "seat0"
    kind: str = "user"
    remote: bool = False
    locked: bool = False

    @property
    def path(self) -> str:
        """Its object: D-Bus paths take letters and digits, so that logind writes a digit at the start as _3x."""
        first, rest = self.identifier[0], self.identifier[1:]
        return f"{_ROOT}/session/" + (f"_3{first}{rest}" if first.isdecimal() else self.identifier)


class LogindService(BusService):
    """logind with one seat, "seat0", and nobody on it. Every public method is thread safe."""

    def __init__(self, bus: PrivateBus) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, SeatSession] = {}
        self._active: dict[str, str] = {}
        self._processes: dict[int, str] = {}
        self._odd: dict[str, tuple[str, Any]] = {}
        super().__init__(bus, SERVICE)

    def log_in(self, session: SeatSession) -> None:
        """Begin a session; at a seat it becomes the active one, as when somebody switches to it."""
        with self._lock:
            self._sessions[session.identifier] = session
            if session.seat:
                self._active[session.seat] = session.identifier

    def log_out(self, identifier: str) -> None:
        """End a session; the seat is left to nobody, until `switch_to`."""
        with self._lock:
            gone = self._sessions.pop(identifier)
            if self._active.get(gone.seat) == identifier:
                del self._active[gone.seat]
            self._processes = {pid: name for pid, name in self._processes.items() if name != identifier}

    def switch_to(self, identifier: str) -> None:
        """Make another session of a seat the active one."""
        with self._lock:
            self._active[self._sessions[identifier].seat] = identifier

    def lock_screen(self, identifier: str, *, locked: bool = True) -> None:
        """Lock or unlock a session."""
        with self._lock:
            self._sessions[identifier] = replace(self._sessions[identifier], locked=locked)

    def run_in(self, pid: int, identifier: str) -> None:
        """Process `pid` belongs to this session from now on."""
        with self._lock:
            self._processes[pid] = identifier

    def misreport(self, **properties: tuple[str, Any]) -> None:
        """Give every session these properties in place of its own: D-Bus signature and value by name."""
        with self._lock:
            self._odd = properties

    def answer(self, call: Call) -> Reply:
        """The methods of the manager, and the properties of seats and sessions."""
        if call.interface == _MANAGER:
            return self._manage(call)
        if call.member == "GetAll":
            with self._lock:
                return Reply("a{sv}", (self._properties(call.path, str(call.body[0])),))
        raise Refusal("org.freedesktop.DBus.Error.UnknownMethod", f"no {call.member}")

    def _manage(self, call: Call) -> Reply:
        match call.member:
            case "GetSeat" if call.body[0] == "seat0":
                return Reply("o", (f"{_ROOT}/seat/seat0",))
            case "GetSeat":
                raise Refusal(f"{SERVICE}.NoSuchSeat", f"No seat '{call.body[0]}' known")
            case "GetSessionByPID":
                return Reply("o", (self._session_of(int(call.body[0]) or self._pid(call.sender)).path,))
            case "ListSessions":
                with self._lock:
                    rows = [(s.identifier, _FIRST_UID, s.user, s.seat, s.path) for s in self._sessions.values()]
                return Reply("a(susso)", (rows,))
            case _:
                raise Refusal("org.freedesktop.DBus.Error.UnknownMethod", f"no {call.member}")

    def _session_of(self, pid: int) -> SeatSession:
        with self._lock:
            if pid not in self._processes:
                raise Refusal(f"{SERVICE}.NoSessionForPID", f"PID {pid} does not belong to any known session")
            return self._sessions[self._processes[pid]]

    def _pid(self, sender: str) -> int:
        try:
            with self._bus.connect() as watcher:
                return int(watcher.bus_proxy.GetConnectionUnixProcessID(sender)[0])
        except DBusErrorResponse:
            raise Refusal(f"{SERVICE}.NoSessionForPID", "the caller has left") from None

    def _properties(self, path: str, interface: str) -> dict[str, tuple[str, Any]]:
        if interface == _SEAT and path == f"{_ROOT}/seat/seat0":
            active = self._sessions.get(self._active.get("seat0", ""))
            return {
                "Id": ("s", "seat0"),
                "ActiveSession": ("(so)", (active.identifier, active.path) if active else _NOWHERE),
            }
        for session in self._sessions.values():
            if interface == _SESSION and session.path == path:
                return self._describe(session) | self._odd
        raise Refusal("org.freedesktop.DBus.Error.UnknownObject", f"Unknown object '{path}'.")

    def _describe(self, session: SeatSession) -> dict[str, tuple[str, Any]]:
        active = not session.seat or self._active.get(session.seat) == session.identifier
        seat = (session.seat, f"{_ROOT}/seat/{session.seat}") if session.seat else _NOWHERE
        return {
            "Id": ("s", session.identifier),
            "Name": ("s", session.user),
            "User": ("(uo)", (_FIRST_UID, f"{_ROOT}/user/_{_FIRST_UID}")),
            "Seat": ("(so)", seat),
            "Remote": ("b", session.remote),
            "Class": ("s", session.kind),
            "Active": ("b", active),
            "State": ("s", "active" if active else "online"),
            "LockedHint": ("b", session.locked),
        }
