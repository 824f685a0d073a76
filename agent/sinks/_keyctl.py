"""The Linux kernel's key retention service by system call: keyctl(2), add_key(2), include/uapi/linux/keyctl.h."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from enum import IntEnum

from agent.errors import SinkFailed

_NUMBERS = {"x86_64": (248, 250), "aarch64": (217, 219)}
"""add_key and keyctl by machine (arch/x86/entry/syscalls/syscall_64.tbl, asm-generic/unistd.h)."""

KEYRINGS = {"process": -2, "session": -3, "user": -4, "user-session": -5}
"""KEY_SPEC_*_KEYRING by name."""

POSSESSOR_ALL = 0x3F000000
USER_VIEW_READ_SEARCH = 0x000B0000


class _Operation(IntEnum):
    REVOKE = 3
    SETPERM = 5
    DESCRIBE = 6
    LINK = 8
    UNLINK = 9
    READ = 11
    SET_TIMEOUT = 15


class KeyErrno(OSError):
    """A key operation that the kernel refused."""


class Keyctl:
    """The system calls; errors are `KeyErrno`."""

    def __init__(self) -> None:
        numbers = _NUMBERS.get(platform.machine())
        if numbers is None:
            raise SinkFailed(
                f"keyring sink: no system call numbers are known for {platform.machine()}",
                remedy="Use the file sink on this machine.",
            )
        self._add_key, self._keyctl = numbers
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.syscall.restype = ctypes.c_long

    def add(self, description: str, payload: bytes, keyring: int) -> int:
        """Add or update a `user` key; its serial number."""
        return self._call(self._add_key, b"user", description.encode(), payload, len(payload), keyring)

    def revoke(self, serial: int) -> None:
        """End a key: its payload is freed at once."""
        self._operate(_Operation.REVOKE, serial)

    def unlink(self, serial: int, keyring: int) -> None:
        """Take a key out of a keyring."""
        self._operate(_Operation.UNLINK, serial, keyring)

    def link(self, serial: int, keyring: int) -> None:
        """Put a key or keyring into a keyring."""
        self._operate(_Operation.LINK, serial, keyring)

    def set_timeout(self, serial: int, seconds: int) -> None:
        """Let the kernel end the key after `seconds`."""
        self._operate(_Operation.SET_TIMEOUT, serial, seconds)

    def set_permissions(self, serial: int, mask: int) -> None:
        """Who may do what with the key."""
        self._operate(_Operation.SETPERM, serial, mask)

    def describe(self, serial: int) -> str:
        """The key's description."""
        return self._fetch(_Operation.DESCRIBE, serial).rstrip(b"\0").decode("utf-8", "replace").split(";", 4)[4]

    def members(self, keyring: int) -> list[int]:
        """Serial numbers linked into a keyring."""
        data = self._fetch(_Operation.READ, keyring)
        return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) - len(data) % 4, 4)]

    def _fetch(self, operation: _Operation, serial: int) -> bytes:
        """An answer of unknown length: ask until the buffer was large enough."""
        size = 4096
        while True:
            buffer = ctypes.create_string_buffer(size)
            needed = self._operate(operation, serial, buffer, size)
            if needed <= size:
                return buffer.raw[:needed]
            size = needed

    def _operate(self, operation: _Operation, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
        return self._call(self._keyctl, int(operation), *arguments)

    def _call(self, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
        wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        result = int(self._libc.syscall(ctypes.c_long(number), *wide))
        if result < 0:
            code = ctypes.get_errno()
            raise KeyErrno(code, os.strerror(code))
        return result


def refusal(what: str, error: OSError) -> SinkFailed:
    """What a refused key operation means for the person at the machine."""
    remedies = {
        errno.ENOSYS: "This kernel has no key retention service; use the file sink.",
        errno.EPERM: "A sandbox (seccomp) forbids keyctl and add_key: allow them in the unit, or use the file sink.",
        errno.EACCES: "The keyring denies access: give the service its session (KeyringMode=shared).",
        errno.EDQUOT: "Raise kernel.keys.maxkeys and kernel.keys.maxbytes.",
    }
    return SinkFailed(f"keyring sink: {what}: {error.strerror}", remedy=remedies.get(error.errno or 0))
