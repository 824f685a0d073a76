"""Messages of netlink(7): framing, attributes, errors. Pure; whatever cannot be read is `MalformedMessage`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from agent.sinks.xfrm.constants import NLMSG_ERROR, NLMSGERR_ATTR_MSG, MessageFlag

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_TYPE_MASK = 0x3FFF
"""NLA_TYPE_MASK: the two highest bits of an attribute's type are flags."""


class MalformedMessage(ValueError):
    """Bytes that are not what the kernel's interface says."""


class Message(NamedTuple):
    """One netlink message; `body` is what follows the header."""

    type: int
    flags: int
    sequence: int
    body: memoryview


class Verdict(NamedTuple):
    """The kernel's answer to a request: `errno` is 0 for success, `text` its own words where it has some."""

    errno: int
    text: str


def frame(kind: int, flags: int, sequence: int, body: bytes | bytearray) -> bytearray:
    """One message, padded to four bytes."""
    message = bytearray(HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0))
    message += body
    message += bytes(-len(message) % 4)
    return message


def attribute(kind: int, value: bytes | bytearray) -> bytearray:
    """One attribute, padded to four bytes."""
    made = bytearray(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind))
    made += value
    made += bytes(-len(made) % 4)
    return made


def messages(data: memoryview) -> Iterator[Message]:
    """Every message of one datagram; raises `MalformedMessage`."""
    while len(data):
        if len(data) < HEADER.size:
            raise MalformedMessage("a netlink header is cut off")
        length, kind, flags, sequence, _ = HEADER.unpack_from(data)
        if not HEADER.size <= length <= len(data):
            raise MalformedMessage("a netlink message has an impossible length")
        yield Message(kind, flags, sequence, data[HEADER.size : length])
        data = data[length + -length % 4 :]


def attributes(data: memoryview) -> dict[int, memoryview]:
    """Attributes by type, the last of each; raises `MalformedMessage`."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise MalformedMessage("a netlink attribute has an impossible length")
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found


def take(layout: struct.Struct, data: memoryview, offset: int = 0) -> tuple[int, ...]:
    """Numbers of a fixed layout; raises `MalformedMessage` where the bytes end too early."""
    if len(data) < offset + layout.size:
        raise MalformedMessage("a netlink message ends too early")
    return layout.unpack_from(data, offset)


def verdict(message: Message) -> Verdict:
    """What an NLMSG_ERROR says (netlink(7), extended acknowledgement); raises `MalformedMessage`."""
    if message.type != NLMSG_ERROR:
        raise MalformedMessage("a netlink message is no acknowledgement")
    (code,) = take(_ERROR, message.body)
    length, *_ = take(HEADER, message.body, _ERROR.size)
    if not message.flags & MessageFlag.ACK_TLVS:
        return Verdict(-code, "")
    repeated = HEADER.size if message.flags & MessageFlag.CAPPED else length + -length % 4
    text = attributes(message.body[_ERROR.size + repeated :]).get(NLMSGERR_ATTR_MSG, memoryview(b""))
    return Verdict(-code, bytes(text).split(b"\0")[0].decode("ascii", "replace")[:200])
