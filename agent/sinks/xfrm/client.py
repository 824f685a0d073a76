"""A client of the kernel's IPsec: requests in batches with acknowledgements, and dumps."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import NamedTuple, TypeVar

from agent.errors import SinkFailed
from agent.hardening import wipe
from agent.sinks.xfrm.constants import (
    NETLINK_CAP_ACK,
    NETLINK_EXT_ACK,
    NETLINK_XFRM,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    MessageFlag,
    MessageType,
)
from agent.sinks.xfrm.netlink import MalformedMessage, Message, Verdict, frame, messages, verdict
from agent.sinks.xfrm.policies import Policy, pack_policy, pack_policy_id, read_policy
from agent.sinks.xfrm.states import HeldState, StateId, WantedState, pack_state, pack_state_id, read_state

T = TypeVar("T")
Connect = Callable[[], socket.socket]

_BATCH = 64
"""Requests sent at a time: their acknowledgements fit the socket's buffer many times over."""
_LARGEST_DATAGRAM = 1 << 18
_PATIENCE_S = 10.0
_DUMPS = 8
"""Tries of a dump during which the tables keep changing."""


class Request(NamedTuple):
    """One change, to be sent once: its `body` is overwritten then.

    `what` names it to a person, `missing_is_fine` is for the removal of what may be gone already.
    """

    kind: MessageType
    body: bytearray
    what: str
    missing_is_fine: bool = False


class XfrmRefused(OSError):
    """The kernel refused a request; `strerror` is in its own words where it has some."""


class Held(NamedTuple):
    """Everything in the kernel's two tables, whoever made it."""

    states: list[HeldState]
    policies: list[Policy]


def open_xfrm() -> socket.socket:
    """A socket to the kernel's IPsec; raises `OSError`."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_XFRM)
    try:
        made.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        with suppress(OSError):
            made.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        made.bind((0, 0))
    except OSError:
        made.close()
        raise
    return made


def add_state(state: WantedState, hard_seconds: int) -> Request:
    """Make a state; one that is there already is refused."""
    return Request(MessageType.NEWSA, pack_state(state, hard_seconds), f"state {state.id}")


def extend_state(state: WantedState, hard_seconds: int) -> Request:
    """Change how long a state lives, counted from its addition; key and sequence numbers stay (xfrm_state_update)."""
    return Request(MessageType.UPDSA, pack_state(state, hard_seconds), f"state {state.id}")


def remove_state(state: StateId) -> Request:
    """End a state."""
    return Request(MessageType.DELSA, pack_state_id(state), f"state {state}", missing_is_fine=True)


def put_policy(policy: Policy) -> Request:
    """Make a policy, or take the place of the one for the same packets at once."""
    return Request(MessageType.UPDPOLICY, pack_policy(policy), str(policy))


def remove_policy(policy: Policy) -> Request:
    """End a policy."""
    return Request(MessageType.DELPOLICY, pack_policy_id(policy), str(policy), missing_is_fine=True)


class XfrmClient:
    """Requests over one connected socket, from one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(_PATIENCE_S)
        self._sequence = count(1)
        self._buffer = bytearray(_LARGEST_DATAGRAM)

    def apply(self, requests: Sequence[Request]) -> None:
        """Carry out requests in order, and every one of a batch whatever the others got.

        Raises `XfrmRefused` for the first that the kernel refused, after which no further batch is sent, and `OSError`
        where the kernel cannot be reached.
        """
        for start in range(0, len(requests), _BATCH):
            self._batch(requests[start : start + _BATCH])

    def dump(self) -> Held:
        """Both tables; raises `XfrmRefused`, `MalformedMessage`, or `OSError`."""
        states = self._dump(MessageType.GETSA, read_state)
        policies = self._dump(MessageType.GETPOLICY, read_policy)
        return Held(states, [policy for policy in policies if policy is not None])

    def _batch(self, requests: Sequence[Request]) -> None:
        waiting = {}
        data = bytearray()
        for request in requests:
            number = next(self._sequence)
            waiting[number] = request
            flags = MessageFlag.REQUEST | MessageFlag.ACK
            data += frame(request.kind, flags, number, request.body)
        try:
            self._socket.sendall(data)
            refusals = self._acknowledged(waiting)
        finally:
            wipe(data)
            for request in requests:
                wipe(request.body)
        if refusals:
            request, refusal = refusals[0]
            raise XfrmRefused(refusal.errno, f"{request.what}: {refusal.text or os.strerror(refusal.errno)}")

    def _acknowledged(self, waiting: dict[int, Request]) -> list[tuple[Request, Verdict]]:
        refusals = []
        while waiting:
            with self._received() as answers:
                for answer in answers:
                    request = waiting.pop(answer.sequence, None)
                    if request is None:
                        continue
                    said = verdict(answer)
                    gone = said.errno in {errno.ESRCH, errno.ENOENT} and request.missing_is_fine
                    if said.errno and not gone:
                        refusals.append((request, said))
        return refusals

    def _dump(self, kind: MessageType, read: Callable[[memoryview], T]) -> list[T]:
        for _ in range(_DUMPS):
            whole, found = self._dump_once(kind, read)
            if whole:
                return found
        raise XfrmRefused(errno.EAGAIN, "the kernel's tables keep changing while they are read")

    def _dump_once(self, kind: MessageType, read: Callable[[memoryview], T]) -> tuple[bool, list[T]]:
        """What there is, and whether it did not change meanwhile."""
        number = next(self._sequence)
        self._socket.sendall(frame(kind, MessageFlag.REQUEST | MessageFlag.DUMP, number, b""))
        whole = True
        found: list[T] = []
        while True:
            with self._received() as answers:
                for answer in answers:
                    if answer.sequence != number:
                        continue
                    whole &= not answer.flags & MessageFlag.DUMP_INTR
                    if _ends(answer):
                        return whole, found
                    found.append(read(answer.body))

    @contextmanager
    def _received(self) -> Iterator[Iterator[Message]]:
        """The messages of one datagram; its bytes, which may hold keys, are gone afterwards."""
        length, _, flags, _ = self._socket.recvmsg_into([self._buffer])
        try:
            if flags & socket.MSG_TRUNC or not length:
                raise MalformedMessage("the kernel's answer is cut off")
            yield messages(memoryview(self._buffer)[:length])
        finally:
            self._buffer[:length] = bytes(length)


def _ends(answer: Message) -> bool:
    """Whether a dump is over; raises `XfrmRefused` where the kernel ended it for a reason."""
    if answer.type == NLMSG_DONE:
        code = int.from_bytes(answer.body[:4], sys.byteorder, signed=True)
        if code < 0:
            raise XfrmRefused(-code, f"reading the kernel's tables: {os.strerror(-code)}")
        return True
    if answer.type == NLMSG_ERROR:
        said = verdict(answer)
        raise XfrmRefused(said.errno, f"reading the kernel's tables: {said.text or os.strerror(said.errno)}")
    return False


def refusal(what: str, error: OSError) -> SinkFailed:
    """What a refused request means for the person at the machine."""
    lacking = (
        "This kernel lacks ESP with AES-GCM: load esp4 (esp6 for IPv6), gcm, seqiv and a random generator (drbg), "
        "or use another sink."
    )
    remedies = {
        errno.EPERM: "Give the service CAP_NET_ADMIN (AmbientCapabilities=CAP_NET_ADMIN in its unit).",
        errno.EACCES: "Give the service CAP_NET_ADMIN (AmbientCapabilities=CAP_NET_ADMIN in its unit).",
        errno.ENOENT: lacking,
        errno.ENOSYS: lacking,
        errno.EPROTONOSUPPORT: lacking,
        errno.EAFNOSUPPORT: "This kernel, or this sandbox (RestrictAddressFamilies), has no AF_NETLINK.",
        errno.EEXIST: "Another program has a state with this SPI: `ip xfrm state` shows it; end it there.",
        errno.ENOMEM: "Free memory; what was installed before stays in force.",
        errno.ENOBUFS: "Free memory; what was installed before stays in force.",
    }
    text = error.strerror or str(error)
    return SinkFailed(f"xfrm sink: {what}: {text}", remedy=remedies.get(error.errno or 0, "See docs/sinks.md."))
