"""How to find and open EF01 readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serial.tools import list_ports

from drivers.ef01._identity import SYSFS, describe, require_serial_port
from drivers.ef01._options import Ef01Options
from drivers.ef01._port import SerialPort
from drivers.ef01._reader import Ef01Reader
from drivers.ef01._session import connect
from drivers.ef01._transfer import ImageLayout
from hal import Clock, Deadline, DeviceInfo, DeviceKind, NotFound, SystemClock, Unsupported

_OPEN_SECONDS = 15.0


class Ef01Driver:
    """Readers of the EF01 family (R30x, AS608, ZFM-20) at a serial port; options as in `Ef01Options`.

    A serial port does not tell what hangs on it, and a byte sent to find out may move a machine. So nothing is ever
    sent to a port that the options do not name, and listing sends nothing at all.
    """

    kind = DeviceKind.FINGERPRINT

    def __init__(self, clock: Clock | None = None, sysfs: Path = SYSFS) -> None:
        self._clock = clock or SystemClock()
        self._sysfs = sysfs

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The port that the options name, if it is there; none when they name none.

        Whether a reader hangs on it shows when it is opened.
        """
        port = Ef01Options.parse(options).port
        if not port:
            return ()
        try:
            return (describe(port, require_serial_port(port), self._sysfs),)
        except NotFound:
            return ()

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Ef01Reader:
        """Claim the port, find the sensor's rate, give the password, read the parameters.

        Raises `NotFound`, `Busy`, `PermissionDenied`, `Unsupported`, `TimedOut`, `AuthorisationFailed`,
        `ProtocolError`.
        """
        chosen = Ef01Options.parse(options)
        limit = (deadline or Deadline.after(_OPEN_SECONDS, self._clock)).within(_OPEN_SECONDS)
        limit.check(f"opening {chosen.port}")
        port = _claim(chosen)
        try:
            session = connect(port, chosen, limit)
            layout = ImageLayout(session.parameters(limit).packet_bytes, chosen.address)
            info = describe(chosen.port, port.status, self._sysfs)
            return Ef01Reader(session, info, layout, chosen.settle_ms / 1000, self._clock)
        except BaseException:
            port.close()
            raise


def _claim(chosen: Ef01Options) -> SerialPort:
    if not chosen.port:
        there = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        raise Unsupported(
            "option 'port' is missing: an EF01 reader is found by the serial port that it hangs on",
            remedy=f"Name the port, best by /dev/serial/by-id. Serial ports of this machine: {there}.",
        )
    require_serial_port(chosen.port)
    return SerialPort(chosen.port, chosen.baud)
