"""Whether the machine's clock is synchronised, as the kernel knows it (adjtimex(2))."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from agent.diagnostics.findings import Finding, Severity
from agent.diagnostics.machine import Machine

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5
_ACCEPTABLE_ERROR_S = 5.0
_SERVICES = (
    ("chrony", "/run/chrony", "sudo systemctl restart chrony && chronyc sources"),
    (
        "systemd-timesyncd",
        "/run/systemd/timesync",
        "sudo systemctl restart systemd-timesyncd && timedatectl timesync-status",
    ),
    ("ntpsec", "/run/ntpd.pid", "sudo systemctl restart ntpsec && ntpq -p"),
)
"""Name of a time service, where it shows that it runs, and how it is looked after."""


class _Timex(ctypes.Structure):
    """struct timex of linux/timex.h; what follows `constant` is not looked at but must have room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True)
class KernelClock:
    """`maximum_error_s` is the kernel's bound on the clock's error, in seconds."""

    synchronised: bool
    maximum_error_s: float


def kernel_clock() -> KernelClock:
    """What the kernel says; reading needs no right. Raises `OSError`."""
    answer = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(answer))
    if state < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return KernelClock(state != _TIME_ERROR and not answer.status & _STA_UNSYNC, answer.maxerror / 1e6)


def judge(clock: KernelClock, machine: Machine) -> Finding:
    """Certificates, leases and challenges stand on the clock."""
    running = next(((name, mend) for name, path, mend in _SERVICES if machine.path(path).exists()), None)
    by = f" by {running[0]}" if running else ""
    facts = {"synchronised": clock.synchronised, "maximum_error_s": round(clock.maximum_error_s, 3)}
    if not clock.synchronised:
        remedy = running[1] if running else "Install a time service: sudo apt-get install chrony"
        what = "the clock is not synchronised" + (f", though {running[0]} runs" if running else "")
        return Finding("host.time", Severity.WARNING, what, remedy, "host", facts)
    if clock.maximum_error_s > _ACCEPTABLE_ERROR_S:
        what = f"the clock may be wrong by {clock.maximum_error_s:.1f} s"
        remedy = running[1] if running else "See which program sets the clock, and its sources."
        return Finding("host.time", Severity.WARNING, what, remedy, "host", facts)
    return Finding("host.time", Severity.OK, f"the clock is synchronised{by}", subject="host", facts=facts)
