"""Who is there, before the C library is asked: it reports every failure to open alike.

An emulator's control channel takes a big-endian command code and answers with a result code: swtpm_ioctls(3).
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import NoReturn

from hal import Busy, Deadline, NotFound, PermissionDenied, ProtocolError, TimedOut

_COMMAND = bytes.fromhex("8001 00000016 0000017a 00000006 00000105 00000001")
"""TPM2_GetCapability of TPM_PT_MANUFACTURER (TCG TPM 2.0 Library Part 3, 30.2)."""
_ANSWER_BYTES = 27
_GET_CAPABILITY = (1).to_bytes(4, "big")
"""CMD_GET_CAPABILITY of the emulator's control channel, which needs no TPM behind it."""
_ASK_AGAIN = 0.7
"""Share of the time that the TPM has to answer; in the rest, the control channel tells who keeps it from that."""
_QUEUE_SECONDS = 0.01
_RESTART = "Restart the TPM emulator."
_DENIED = frozenset({errno.EACCES, errno.EPERM})


def probe(tcti: str, deadline: Deadline) -> None:
    """Raise what is wrong with the TPM behind `tcti`, as far as it can be told without the software stack.

    `NotFound`, `PermissionDenied`, `Busy`, `TimedOut`, and `ProtocolError` for something that is no TPM.
    """
    name, _, where = tcti.partition(":")
    if name == "device":
        _probe_node(where)
    elif name == "swtpm" and where.startswith("path="):
        _probe_socket(where.removeprefix("path=").partition(",")[0], deadline)


def _probe_node(node: str) -> None:
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in _DENIED:
            raise PermissionDenied(
                f"no permission to use {node}", remedy="Add the service user to the group `tss`."
            ) from error
        if error.errno == errno.EBUSY:
            raise Busy(f"{node} is in use", remedy="Use /dev/tpmrm0, which several programs may share.") from error
        raise NotFound(f"there is no TPM at {node}", remedy="Enable the TPM in the firmware set-up.") from error


def _probe_socket(path: str, deadline: Deadline) -> None:
    begun = deadline.remaining()
    with socket.socket(socket.AF_UNIX) as connection:
        _connect(connection, path, deadline)
        connection.settimeout(max(0.001, begun * _ASK_AGAIN))
        try:
            connection.sendall(_COMMAND)
            answer = _whole_answer(connection)
        except TimeoutError:
            _tell_who_holds(path, deadline)
        except OSError as error:
            raise NotFound(f"the TPM at {path} hung up", remedy="Start the TPM emulator again.") from error
    if not _is_manufacturer(answer):
        raise ProtocolError(
            f"what answers at {path} is not a TPM 2.0",
            remedy="Correct `tcti`: the socket belongs to another program, or to a TPM 1.2.",
        )


def _connect(connection: socket.socket, path: str, deadline: Deadline) -> None:
    connection.settimeout(max(0.001, deadline.remaining()))
    while True:
        try:
            connection.connect(path)
            return
        except BlockingIOError:
            # The emulator's queue of connections is full: nobody is served while it stalls.
            if deadline.remaining() <= _QUEUE_SECONDS:
                raise TimedOut(f"the TPM emulator at {path} takes no connection", remedy=_RESTART) from None
            deadline.clock.sleep(_QUEUE_SECONDS)
        except OSError as error:
            if error.errno in _DENIED:
                raise PermissionDenied(
                    f"no permission to use {path}", remedy="Run as the user of the emulator, or open the socket's mode."
                ) from error
            raise NotFound(f"no TPM answers at {path}", remedy="Start the TPM emulator, or correct `tcti`.") from error


def _whole_answer(connection: socket.socket) -> bytes:
    """Up to the length of a right answer: whatever it is, it is not waited for longer."""
    answer = b""
    while len(answer) < _ANSWER_BYTES and (part := connection.recv(64)):
        answer += part
    return answer


def _is_manufacturer(answer: bytes) -> bool:
    """Tag without sessions, the right length, success, and the property that was asked for."""
    return (
        len(answer) == _ANSWER_BYTES
        and answer[:10] == bytes.fromhex("8001 0000001b 00000000")
        and answer[11:23] == bytes.fromhex("00000006 00000001 00000105")
    )


def _tell_who_holds(path: str, deadline: Deadline) -> NoReturn:
    """A TPM that another connection holds still answers on its control channel; one that stalls does not."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as control:
        control.settimeout(max(0.001, deadline.remaining() * 0.9))
        control.connect(f"{path}.ctrl")
        control.sendall(_GET_CAPABILITY)
        if control.recv(16):
            raise Busy(
                f"another program holds the TPM emulator at {path}, or it is very slow",
                remedy="End the other program that is connected to the emulator, then try again.",
            )
    raise TimedOut(f"the TPM at {path} does not answer", remedy=_RESTART)
