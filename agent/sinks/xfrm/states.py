"""Security associations as the kernel takes and shows them: xfrm_usersa_info and its attributes."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field

from agent.sinks.xfrm.constants import AEAD, ESP, ICV_BITS, STATE_ESN, Attribute, Mode
from agent.sinks.xfrm.layouts import (
    CURRENT,
    LIFETIMES,
    SELECTOR,
    IpAddress,
    Selector,
    family,
    pack_address,
    pack_lifetimes,
    pack_selector,
    read_address,
    read_selector,
)
from agent.sinks.xfrm.netlink import MalformedMessage, attribute, attributes, take

_ID = struct.Struct("!16sIB3x")
"""xfrm_id: daddr, spi in network order, proto."""
_STATS = struct.Struct("=3I")
_TAIL = struct.Struct("=IIHBBB7x")
"""seq, reqid, family, mode, replay_window, flags."""
STATE_ID = struct.Struct("=16s4sHBx")
"""xfrm_usersa_id: daddr, spi, family, proto."""
_AEAD = struct.Struct("=64sII")
"""xfrm_algo_aead: name, bits of the key, bits of the ICV; the key follows."""
_REPLAY = struct.Struct("=6I")
"""xfrm_replay_state_esn: words of the bitmap, oseq, seq, oseq_hi, seq_hi, replay_window; the bitmap follows."""

_AT_ID = SELECTOR.size
_AT_SOURCE = _AT_ID + _ID.size
_AT_LIFETIMES = _AT_SOURCE + 16
_AT_CURRENT = _AT_LIFETIMES + LIFETIMES.size
_AT_TAIL = _AT_CURRENT + CURRENT.size + _STATS.size
STATE_BYTES = _AT_TAIL + _TAIL.size
"""224, the size of xfrm_usersa_info."""


@dataclass(frozen=True)
class StateId:
    """What names a state in the kernel: an SPI is unique per destination."""

    destination: IpAddress
    spi: int

    def __str__(self) -> str:
        return f"{self.spi:#010x} to {self.destination}"


@dataclass(frozen=True)
class WantedState:
    """A state to be made; `key` has 36 bytes, `expires_at` is in POSIX seconds, `window` in packets."""

    id: StateId
    source: IpAddress
    mode: Mode
    selector: Selector
    reqid: int
    window: int
    expires_at: float
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class HeldState:
    """A state that the kernel has. `fingerprint` tells its key apart, and is empty where the kernel keeps it back.

    `added_at` is in POSIX seconds, `hard_seconds` the life from then on (0 is endless); `sent` is the sequence number
    of the last packet sent under it, `received` the highest seen.
    """

    id: StateId
    source: IpAddress
    protocol: int
    mode: int
    selector: Selector | None
    reqid: int
    added_at: int
    hard_seconds: int
    marked: bool
    extended: bool
    fingerprint: bytes
    sent: int
    received: int


def fingerprint(key: bytes | memoryview) -> bytes:
    """16 bytes that tell a 36-byte key from any other and tell nothing about it: it has 288 bits to guess."""
    return hashlib.sha256(b"keyvigil/esp-fingerprint/1" + key).digest()[:16]


def pack_state(state: WantedState, hard_seconds: int) -> bytearray:
    """Body of XFRM_MSG_NEWSA and XFRM_MSG_UPDSA."""
    body = bytearray(pack_selector(state.selector))
    body += _ID.pack(pack_address(state.id.destination), state.id.spi, ESP)
    body += pack_address(state.source)
    body += pack_lifetimes(hard_seconds)
    body += bytes(CURRENT.size + _STATS.size)
    body += _TAIL.pack(0, state.reqid, family(state.id.destination.version), state.mode, 0, STATE_ESN)
    body += attribute(Attribute.ALG_AEAD, _AEAD.pack(AEAD, 8 * (len(state.key) - 4) + 32, ICV_BITS) + state.key)
    words = -(-state.window // 32)
    body += attribute(Attribute.REPLAY_ESN_VAL, _REPLAY.pack(words, 0, 0, 0, 0, state.window) + bytes(4 * words))
    return body


def pack_state_id(state: StateId) -> bytearray:
    """Body of XFRM_MSG_DELSA."""
    of_family = family(state.destination.version)
    spi = state.spi.to_bytes(4, "big")
    return bytearray(STATE_ID.pack(pack_address(state.destination), spi, of_family, ESP))


def read_state(body: memoryview) -> HeldState:
    """A state of a dump; raises `MalformedMessage`. The key is not kept."""
    _, reqid, of_family, mode, _, flags = take(_TAIL, body, _AT_TAIL)
    destination, spi, protocol = _ID.unpack_from(body, _AT_ID)
    found = attributes(body[STATE_BYTES:])
    sent, received = _sequences(found.get(Attribute.REPLAY_ESN_VAL))
    return HeldState(
        id=StateId(read_address(destination, of_family), spi),
        source=read_address(bytes(body[_AT_SOURCE : _AT_SOURCE + 16]), of_family),
        protocol=protocol,
        mode=mode,
        selector=read_selector(body),
        reqid=reqid,
        added_at=take(CURRENT, body, _AT_CURRENT)[2],
        hard_seconds=take(LIFETIMES, body, _AT_LIFETIMES)[5],
        marked=Attribute.MARK in found or Attribute.IF_ID in found,
        extended=bool(flags & STATE_ESN),
        fingerprint=_fingerprint_of(found.get(Attribute.ALG_AEAD)),
        sent=sent,
        received=received,
    )


def _sequences(replay: memoryview | None) -> tuple[int, int]:
    if replay is None:
        return 0, 0
    _, sent, received, sent_high, received_high, _ = take(_REPLAY, replay)
    return sent_high << 32 | sent, received_high << 32 | received


def _fingerprint_of(aead: memoryview | None) -> bytes:
    """Of the key of an AEAD state; empty for other states and where the kernel shows zeros (lockdown)."""
    if aead is None:
        return b""
    if len(aead) < _AEAD.size:
        raise MalformedMessage("an algorithm ends too early")
    name, bits, _ = _AEAD.unpack_from(aead)
    key = aead[_AEAD.size :]
    if len(key) != -(-bits // 8):
        raise MalformedMessage("an algorithm's key has another length than it says")
    return b"" if name.split(b"\0")[0] != AEAD or not any(key) else fingerprint(key)
