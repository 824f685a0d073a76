"""The kernel's IPsec tables behind a socket, as NETLINK_XFRM behaves: a model of its state and policy databases.

Semantics: netlink(7), linux/xfrm.h, net/xfrm/xfrm_user.c of Linux 6.1. What matters to a client:

- Every request of a datagram is carried out in order, whatever became of the one before it, and acknowledged by its
  sequence number where it asks for that.
- A state is named by destination, SPI, protocol and family: a second one is EEXIST, an unknown one ESRCH. UPDSA changes
  the lifetimes of a state and neither its key nor its sequence numbers.
- There is one policy per direction and selector: UPDPOLICY takes its place at once. An unknown one is ENOENT.
- A dump comes in several datagrams and ends with NLMSG_DONE; one during which a table changed says so in a flag.
- Text of extended acknowledgements goes to an error, and an error repeats no body (NETLINK_CAP_ACK).
"""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self

_HEADER = struct.Struct("=IHHII")
_ERROR, _DONE = 2, 3
_ACK, _DUMP, _MULTI, _INTERRUPTED, _CAPPED, _TLVS = 0x04, 0x300, 0x02, 0x10, 0x100, 0x200
_NEWSA, _DELSA, _GETSA, _NEWPOLICY, _DELPOLICY, _GETPOLICY, _UPDPOLICY, _UPDSA = (
    0x10,
    0x11,
    0x12,
    0x13,
    0x14,
    0x15,
    0x19,
    0x1A,
)
_SELECTOR = 56
_STATE, _POLICY = 224, 168
_ID_AT, _LIFETIMES_AT, _CURRENT_AT, _FAMILY_AT = 56, 96, 160, 212
_DIRECTION_AT = 160
_ADD_TIME = struct.Struct("=Q")
_LARGEST = 3 * 1024
"""Of a dump's datagram: small, so that a few entries take several."""
_AEAD_ATTRIBUTE = 18
_GCM = b"rfc4106(gcm(aes))".ljust(64, b"\0") + struct.pack("=II", 288, 128)


class XfrmFault(Enum):
    """What goes wrong."""

    NO_ESP = "this kernel has no ESP"
    NO_MEMORY = "no memory for a state"
    NOT_PERMITTED = "the client may not"
    INTERRUPTED = "the tables change during a dump"
    TRUNCATED = "a datagram of a dump is cut"
    DUMP_FAILS = "a dump ends with an error"
    KEYS_KEPT_BACK = "lockdown: a dump shows zeros for keys"
    DIES = "the client is cut off"
    SILENT = "no acknowledgement comes"


@dataclass
class XfrmKernel:
    """Tables by what names an entry. A fault holds for requests from the `after`th change on, `times` times."""

    now: float = 1000.0
    states: dict[bytes, bytearray] = field(default_factory=dict)
    policies: dict[bytes, bytes] = field(default_factory=dict)
    fault: XfrmFault | None = None
    after: int = 0
    times: int = 1 << 30
    changes: int = 0
    history: list[tuple[int, bytes]] = field(default_factory=list)
    """Every change that was carried out: type, and body."""

    def __enter__(self) -> Self:
        self._threads: list[threading.Thread] = []
        self._ends: list[socket.socket] = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._ends:
            end.close()
        for thread in self._threads:
            thread.join(5)

    def connect(self) -> socket.socket:
        """A client's end; every connection has a thread of its own, and one client is served at a time."""
        client, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ends.append(client)
        thread = threading.Thread(target=self._serve, args=(kernel,), daemon=True)
        self._threads.append(thread)
        thread.start()
        return client

    def order(self, fault: XfrmFault | None, after: int = 0, times: int = 1 << 30) -> None:
        """Put a fault in force, counted from now on; `None` ends it."""
        self.fault, self.after, self.times, self.changes = fault, after, times, 0

    def _serve(self, end: socket.socket) -> None:
        with end:
            while data := end.recv(1 << 20):
                for request in _messages(data):
                    if not self._answer(end, *request):
                        return

    def _answer(self, end: socket.socket, kind: int, flags: int, number: int, body: bytes) -> bool:
        """Whether to go on."""
        if flags & _DUMP == _DUMP:
            for datagram in self._dump(kind, number):
                end.send(datagram)
            return True
        self.changes += 1
        if self._strikes(XfrmFault.DIES):
            return False
        code, text = self._change(kind, body)
        if code == 0:
            self.history.append((kind, body))
        if flags & _ACK and not self._strikes(XfrmFault.SILENT):
            end.send(_acknowledgement(number, code, text))
        return True

    def _strikes(self, fault: XfrmFault) -> bool:
        if self.fault is not fault or self.changes <= self.after or self.times <= 0:
            return False
        self.times -= 1
        return True

    def _change(self, kind: int, body: bytes) -> tuple[int, str]:
        if self._strikes(XfrmFault.NOT_PERMITTED):
            return errno.EPERM, ""
        if kind in {_NEWSA, _UPDSA}:
            return self._put_state(kind, body)
        if kind == _DELSA:
            name = body[16:20] + body[:16] + body[20:23]
            return (0, "") if self.states.pop(name, None) is not None else (errno.ESRCH, "")
        if kind in {_NEWPOLICY, _UPDPOLICY}:
            name = body[:_SELECTOR] + body[_DIRECTION_AT : _DIRECTION_AT + 1]
            self.policies[name] = body
            return 0, ""
        if kind == _DELPOLICY:
            name = body[:_SELECTOR] + body[_SELECTOR + 4 : _SELECTOR + 5]
            return (0, "") if self.policies.pop(name, None) is not None else (errno.ENOENT, "")
        return errno.EINVAL, "unknown request"

    def _put_state(self, kind: int, body: bytes) -> tuple[int, str]:
        identity = body[_ID_AT : _ID_AT + 24]
        name = identity[16:20] + identity[:16] + body[_FAMILY_AT : _FAMILY_AT + 2] + identity[20:21]
        algorithm = dict(_attributes(body[_STATE:])).get(_AEAD_ATTRIBUTE, b"")
        if len(body) < _STATE or not algorithm.startswith(_GCM) or len(algorithm) != len(_GCM) + 36:
            return errno.EINVAL, "Invalid AEAD"
        if self._strikes(XfrmFault.NO_ESP):
            return errno.ENOSYS, "Requested AEAD algorithm not found"
        if self._strikes(XfrmFault.NO_MEMORY):
            return errno.ENOMEM, ""
        return self._extend(name, body) if kind == _UPDSA else self._add(name, body)

    def _extend(self, name: bytes, body: bytes) -> tuple[int, str]:
        if name not in self.states:
            return errno.ESRCH, ""
        self.states[name][_LIFETIMES_AT:_CURRENT_AT] = body[_LIFETIMES_AT:_CURRENT_AT]
        return 0, ""

    def _add(self, name: bytes, body: bytes) -> tuple[int, str]:
        if name in self.states:
            return errno.EEXIST, ""
        made = bytearray(body)
        _ADD_TIME.pack_into(made, _CURRENT_AT + 16, int(self.now))
        self.states[name] = made
        return 0, ""

    def _dump(self, kind: int, number: int) -> Iterator[bytes]:
        self.changes += self.fault in {XfrmFault.INTERRUPTED, XfrmFault.TRUNCATED, XfrmFault.DUMP_FAILS}
        interrupted = _INTERRUPTED if self._strikes(XfrmFault.INTERRUPTED) else 0
        entries = list(self.states.values()) if kind == _GETSA else list(self.policies.values())
        answer = _NEWSA if kind == _GETSA else _NEWPOLICY
        shown = [self._shown(bytes(entry)) if kind == _GETSA else bytes(entry) for entry in entries]
        parts = [_frame(answer, _MULTI | interrupted, number, body) for body in shown]
        code = -errno.EBUSY if self._strikes(XfrmFault.DUMP_FAILS) else 0
        parts.append(_frame(_DONE, _MULTI | interrupted, number, struct.pack("=i", code)))
        datagrams = list(_gathered(parts))
        if self._strikes(XfrmFault.TRUNCATED):
            datagrams[0] = datagrams[0][:-4]
        yield from datagrams

    def _shown(self, state: bytes) -> bytes:
        if self.fault is not XfrmFault.KEYS_KEPT_BACK:
            return state
        return state.replace(dict(_attributes(state[_STATE:]))[_AEAD_ATTRIBUTE][-36:], bytes(36))


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    while data:
        length, kind, flags, number, _ = _HEADER.unpack_from(data)
        yield kind, flags, number, data[_HEADER.size : length]
        data = data[length + -length % 4 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, kind = struct.unpack_from("=HH", data)
        yield kind, data[4:length]
        data = data[length + -length % 4 :]


def _frame(kind: int, flags: int, number: int, body: bytes) -> bytes:
    whole = _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0) + body
    return whole + bytes(-len(whole) % 4)


def _acknowledgement(number: int, code: int, text: str) -> bytes:
    flags, words = _CAPPED, b""
    if text:
        said = text.encode() + b"\0"
        words = struct.pack("=HH", 4 + len(said), 1) + said + bytes(-len(said) % 4)
        flags |= _TLVS
    return _frame(_ERROR, flags, number, struct.pack("=i", -code) + _HEADER.pack(16, 0, 0, number, 0) + words)


def _gathered(parts: list[bytes]) -> Iterator[bytes]:
    room = itertools.accumulate(map(len, parts))
    groups = itertools.groupby(zip(room, parts, strict=True), key=lambda pair: pair[0] // _LARGEST)
    for _, group in groups:
        yield b"".join(part for _, part in group)
