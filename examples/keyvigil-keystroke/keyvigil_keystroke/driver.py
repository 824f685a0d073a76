"""A PS/2 keyboard whose bytes a converter carries over a serial line.

Commands and answers are facts of the IBM PS/2 technical reference, keyboards (101/102 keys): F2 identifies, F4 and F5
switch reporting on and off, FA acknowledges, FE asks for a repetition.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from hal import Clock, Deadline, DeviceError, DeviceInfo, NotFound, ProtocolError, SystemClock, Transport, Unsupported
from keyvigil_keystroke.keyboard import KIND, KeyEvent
from keyvigil_keystroke.scan_codes import ScanCodes
from keyvigil_keystroke.serial_line import BAUD_RATES, SerialLine, transport_of

_IDENTIFY, _ENABLE, _DISABLE = 0xF2, 0xF4, 0xF5
_ACKNOWLEDGED, _RESEND = 0xFA, 0xFE
_KEYBOARD = bytes.fromhex("ab83")
_TRIES = 3
_OPEN_S = 2.0
_LEAVE_S = 0.3
_MOST_STRAY = 4096
"""Bytes before an answer that may be keys of before; a line that sends more is no keyboard's."""

_BAUD = 9600


class Ps2SerialDriver:
    """Finds and opens PS/2 keyboards; options `port` (a device node, required) and `baud` (9600)."""

    kind = KIND

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The line that `options` names, if it is there; what hangs at it shows when it is opened."""
        port, _ = _settings(options, required=False)
        transport = transport_of(port) if port else None
        return () if transport is None else (_info(port, transport),)

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Ps2Keyboard:
        """Claim the line and make sure that a keyboard answers.

        Raises `NotFound`, `Busy`, `PermissionDenied`, `Unsupported`, `TimedOut`, `ProtocolError`.
        """
        port, baud = _settings(options, required=True)
        transport = transport_of(port)
        if transport is None:
            raise NotFound(f"nothing is attached at {port}")
        line = SerialLine(port, baud)
        try:
            keyboard = Ps2Keyboard(line, _info(port, transport), self._clock)
            limit = Deadline.after(_OPEN_S, self._clock) if deadline is None else deadline.within(_OPEN_S)
            keyboard.identify(limit)
        except BaseException:
            line.close()
            raise
        return keyboard


class Ps2Keyboard:
    """An opened keyboard. Made by `Ps2SerialDriver.open`."""

    def __init__(self, line: SerialLine, info: DeviceInfo, clock: Clock) -> None:
        self._line = line
        self._info = info
        self._clock = clock
        self._sequence = 0

    @property
    def info(self) -> DeviceInfo:
        """Who and where the keyboard is."""
        return self._info

    def identify(self, deadline: Deadline) -> None:
        """Silence the keys, then ask who answers; raises `ProtocolError` when it is no keyboard."""
        self._command(_DISABLE, deadline)
        self._command(_IDENTIFY, deadline)
        answer = bytes(self._line.read(deadline, "the keyboard's identification") for _ in _KEYBOARD)
        if answer != _KEYBOARD:
            raise ProtocolError(
                f"what answers at {self._info.port} is no keyboard: {answer.hex()}",
                remedy="Plug a PS/2 keyboard (AT or MF2) into the converter.",
            )

    def events(self, deadline: Deadline, on_ready: Callable[[], None]) -> Generator[KeyEvent, None, None]:
        """Keys as they move; `keyvigil_keystroke.keyboard.Keyboard`."""
        codes = ScanCodes()
        self._command(_ENABLE, deadline)
        try:
            on_ready()
            while True:
                byte = self._line.read(deadline, "typing")
                now = self._clock.monotonic_ns()
                if (found := codes.feed(byte)) is not None:
                    self._sequence += 1
                    yield KeyEvent(*found, self._sequence, now)
        finally:
            with suppress(DeviceError):
                self._command(_DISABLE, Deadline.after(_LEAVE_S, self._clock))

    def close(self) -> None:
        """Release the keyboard; closing twice is allowed."""
        self._line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _command(self, code: int, deadline: Deadline) -> None:
        """Send one byte until it is acknowledged; keys that came before are thrown away."""
        for _ in range(_TRIES):
            self._line.flush()
            self._line.write(code, deadline, f"command {code:#04x}")
            if self._answered(code, deadline):
                return
        raise ProtocolError(f"the keyboard asked {_TRIES} times for command {code:#04x} again")

    def _answered(self, code: int, deadline: Deadline) -> bool:
        """True once it is acknowledged, false when it is asked for again."""
        for _ in range(_MOST_STRAY):
            byte = self._line.read(deadline, f"the answer to command {code:#04x}")
            if byte in {_ACKNOWLEDGED, _RESEND}:
                return byte == _ACKNOWLEDGED
        raise ProtocolError(f"no keyboard answers at {self._info.port}, but noise")


def _info(port: str, transport: Transport) -> DeviceInfo:
    name = "PS/2 keyboard" + (" (simulated)" if transport is Transport.VIRTUAL else "")
    return DeviceInfo(KIND, "ps2serial", transport, port, name=name, capabilities=frozenset({"keys"}))


def _settings(options: Mapping[str, Any], *, required: bool) -> tuple[str, int]:
    """Port and baud rate; raises `Unsupported` naming the option."""
    unknown = sorted({*options} - {"port", "baud"})
    if unknown:
        raise Unsupported(f"ps2serial has no option {unknown[0]!r}", remedy="Its options are `port` and `baud`.")
    port, baud = options.get("port", ""), options.get("baud", _BAUD)
    if not isinstance(port, str) or "\0" in port or (required and not port):
        raise Unsupported("ps2serial needs the option `port`", remedy='Name the line: port = "/dev/ttyUSB0".')
    if isinstance(baud, bool) or baud not in BAUD_RATES:
        rates = ", ".join(map(str, BAUD_RATES))
        raise Unsupported("the option `baud` of ps2serial is no rate it knows", remedy=f"Use one of {rates}.")
    return port, baud
