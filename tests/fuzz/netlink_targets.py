"""What the kernel's IPsec sends to the xfrm sink."""

from __future__ import annotations

import struct

from agent.sinks.xfrm.netlink import HEADER, MalformedMessage, Message, frame, messages, verdict
from agent.sinks.xfrm.policies import read_policy
from agent.sinks.xfrm.states import read_state
from tests.agent.xfrm.test_wire import GOLDEN_POLICY, GOLDEN_STATE
from tests.fuzz._target import Target

_STATE, _POLICY = bytes.fromhex(GOLDEN_STATE), bytes.fromhex(GOLDEN_POLICY)
_TEXT = b"Requested AEAD algorithm not found\0\0"
_REFUSAL = struct.pack("=i", -38) + HEADER.pack(400, 0x10, 5, 9, 0)


def _state(data: bytes) -> object:
    return read_state(memoryview(data))


def _policy(data: bytes) -> object:
    return read_policy(memoryview(data))


def _datagram(data: bytes) -> object:
    return list(messages(memoryview(data)))


def _verdict(data: bytes) -> object:
    """An acknowledgement whose flags are the first two bytes."""
    return verdict(Message(2, int.from_bytes(data[:2], "little"), 9, memoryview(data)[2:]))


NETLINK_TARGETS: tuple[Target, ...] = (
    Target("xfrm-state", _state, (MalformedMessage,), (_STATE, _STATE[:-44])),
    Target("xfrm-policy", _policy, (MalformedMessage,), (_POLICY, _POLICY[:168])),
    Target("netlink-datagram", _datagram, (MalformedMessage,), (bytes(frame(16, 2, 1, _STATE) * 2),)),
    Target(
        "netlink-verdict",
        _verdict,
        (MalformedMessage,),
        (b"\x00\x01" + _REFUSAL, b"\x00\x03" + _REFUSAL + struct.pack("=HH", 4 + len(_TEXT), 1) + _TEXT),
    ),
)
