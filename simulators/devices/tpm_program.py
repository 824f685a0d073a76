"""Another program that uses the same TPM, at the level of command bytes: what it does to one that others rely on.

Authorisation is by password sessions with empty values, as a TPM comes from its maker. Source: TCG TPM 2.0 Library
Part 3; section numbers stand with each command.
"""

from __future__ import annotations

import socket
from pathlib import Path

from hal import DeviceError

MANUFACTURER_QUESTION = bytes.fromhex("8001 00000016 0000017a 00000006 00000105 00000001")
"""TPM2_GetCapability (30.2) of TPM_PT_MANUFACTURER."""
LOCKED_OUT, NV_FULL = 0x921, 0x14B
_NV_DEFINED = 0x14C

_OWNER, _LOCKOUT = 0x40000001, 0x4000000A
_SHA256 = 0x000B
_AUTHWRITE, _COUNTER, _AUTHREAD, _NO_DA = 1 << 2, 1 << 4, 1 << 18, 1 << 25
"""TPMA_NV (Part 2, 13.4); the type stands in four bits."""
_PROBE_INDEX = 0x01BFFF00
_FILL_INDICES = range(0x01BF0000, 0x01BF1000)
_FILL_SIZES = (2048, 256, 32, 1)
_MOST_TRIES = 1000


class TpmProgram:
    """Speaks to the TPM whose data socket is `path`, one connection a command."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds

    def extend(self, register: int, digest: bytes) -> None:
        """TPM2_PCR_Extend (22.2) of the SHA-256 bank by 32 bytes."""
        self._must(0x182, (register,), (1).to_bytes(4, "big") + _SHA256.to_bytes(2, "big") + digest)

    def lock_out(self) -> None:
        """Answer wrongly until the TPM locks everything that its dictionary-attack protection covers."""
        self._must(0x12A, (_OWNER,), _index(_PROBE_INDEX, _AUTHREAD | _AUTHWRITE, 1, b"right"))
        try:
            for _ in range(_MOST_TRIES):
                if self._run(0x14E, (_PROBE_INDEX, _PROBE_INDEX), bytes.fromhex("0001 0000"), b"wrong") == LOCKED_OUT:
                    return
            raise DeviceError("the simulated TPM does not lock")
        finally:
            self._must(0x122, (_OWNER, _PROBE_INDEX))

    def end_lockout(self) -> None:
        """TPM2_DictionaryAttackLockReset (25.2)."""
        self._must(0x139, (_LOCKOUT,))

    def fill(self) -> list[int]:
        """Define indices (TPM2_NV_DefineSpace, 31.3) until none fits; their handles.

        Counters come last: a TPM keeps some room for them that nothing else gets.
        """
        made: list[int] = []
        attributes = _AUTHREAD | _AUTHWRITE | _NO_DA
        for kind, size in (*((attributes, size) for size in _FILL_SIZES), (attributes | _COUNTER, 8)):
            for handle in _FILL_INDICES:
                code = self._run(0x12A, (_OWNER,), _index(handle, kind, size))
                if code == NV_FULL:
                    break
                if code == _NV_DEFINED:
                    continue
                _check(code)
                made.append(handle)
        return made

    def remove(self, handle: int) -> None:
        """TPM2_NV_UndefineSpace (31.4)."""
        self._must(0x122, (_OWNER, handle))

    def _must(self, code: int, handles: tuple[int, ...], parameters: bytes = b"") -> None:
        _check(self._run(code, handles, parameters))

    def _run(self, code: int, handles: tuple[int, ...], parameters: bytes = b"", password: bytes = b"") -> int:
        """The response code of one command with a single password session."""
        session = (0x40000009).to_bytes(4, "big") + bytes(3) + _sized(password)
        body = b"".join(handle.to_bytes(4, "big") for handle in handles)
        body += len(session).to_bytes(4, "big") + session + parameters
        command = bytes.fromhex("8002") + (10 + len(body)).to_bytes(4, "big") + code.to_bytes(4, "big") + body
        return response_code(ask(self._path, command, self._seconds))


def ask(path: Path, command: bytes, seconds: float) -> bytes:
    """The TPM's answer; raises `OSError` when there is none within `seconds`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(str(path))
        connection.sendall(command)
        return receive(connection)


def receive(connection: socket.socket) -> bytes:
    """One whole command or answer: tag (2 bytes), total size (4), and the rest; empty at the end of the connection."""
    message = b""
    while len(message) < 6 or len(message) < int.from_bytes(message[2:6], "big"):
        part = connection.recv(4096)
        if not part:
            return b""
        message += part
    return message


def response_code(answer: bytes) -> int:
    """TPM_RC of an answer."""
    return int.from_bytes(answer[6:10], "big")


def _check(code: int) -> None:
    if code:
        raise DeviceError(f"the simulated TPM refused a command: 0x{code:x}")


def _index(handle: int, attributes: int, size: int, auth: bytes = b"") -> bytes:
    """Parameters of TPM2_NV_DefineSpace."""
    area = handle.to_bytes(4, "big") + _SHA256.to_bytes(2, "big") + attributes.to_bytes(4, "big")
    return _sized(auth) + _sized(area + _sized(b"") + size.to_bytes(2, "big"))


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
