"""What a process may do: as a service under its unit's directives, or as the same user without any, for comparison.

    probe.py HIDDEN_IN_HOME HIDDEN_IN_TMP OPEN_FOLDER DEVICE

Runs on the target by the standard library alone. JSON on standard output: each try with `possible`, or why not.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_ADDR_NO_RANDOMIZE = 0x0040000
_SYSLOG_SIZE = 10
_LIBC = ctypes.CDLL(None, use_errno=True)


def tries(home: str, temporary: str, folder: str, device: str) -> dict[str, Callable[[], object]]:
    """What is tried, by the directive that forbids it."""
    return {
        "ProtectSystem": lambda: Path(folder, f"by-{os.getuid()}").write_text("x", encoding="utf-8"),
        "ProtectHome": lambda: Path(home).read_text(encoding="utf-8"),
        "PrivateTmp": lambda: Path(temporary).read_text(encoding="utf-8"),
        "DevicePolicy": lambda: os.close(os.open(device, os.O_RDWR)),
        "ProtectProc": lambda: Path("/proc/1/status").read_text(encoding="utf-8"),
        "ProtectKernelTunables": lambda: _writable_mount("/sys"),
        "ProtectControlGroups": lambda: _writable_mount("/sys/fs/cgroup"),
        "ProtectKernelLogs": lambda: _checked(_LIBC.klogctl(_SYSLOG_SIZE, None, 0)),
        "MemoryDenyWriteExecute": _write_and_execute,
        "RestrictAddressFamilies": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close(),
        "RestrictNamespaces": lambda: _checked(_LIBC.unshare(_CLONE_NEWUSER)),
        "RestrictSUIDSGID": _set_user_id,
        "LockPersonality": lambda: _checked(_LIBC.personality(_ADDR_NO_RANDOMIZE)),
        "SystemCallFilter": lambda: os.sched_setaffinity(0, {0}),
        "LimitCORE": _dump,
    }


def outcome(attempt: Callable[[], object]) -> str:
    """`possible`, or the error."""
    try:
        attempt()
    except OSError as error:
        return error.strerror or str(error)
    return "possible"


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _writable_mount(path: str) -> None:
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(0, "read-only mount")


def _write_and_execute() -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def _set_user_id() -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(stat.S_ISUID | 0o700)


def _dump() -> None:
    import resource

    if not resource.getrlimit(resource.RLIMIT_CORE)[1]:
        raise OSError(0, "limited to nothing")


def state() -> dict[str, str]:
    """What the kernel tells of the process itself."""
    told = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    names = {name: os.fspath(Path(f"/proc/self/ns/{name}").readlink()) for name in ("mnt", "user", "uts")}
    return {**{name: told[name] for name in ("CapBnd", "CapEff", "NoNewPrivs", "Seccomp")}, **names}


def main() -> None:
    """Try everything, and print what came of it."""
    found = {name: outcome(attempt) for name, attempt in tries(*sys.argv[1:5]).items()}
    json.dump({"tries": found, "state": state()}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
