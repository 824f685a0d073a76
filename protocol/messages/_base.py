"""What every topic has: the base of messages, proofs, and who a device is."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from protocol.bounds import Word
from protocol.flashes import MOST_FLASHES

PROTOCOL_VERSION = 1


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every message."""


class QuoteEvidence(Message, frozen=True):
    """TPMS_ATTEST (quote), TPMT_SIGNATURE, and the SHA-256 PCR values that the quote covers; or a statement."""

    attest: bytes
    signature: bytes
    pcrs: dict[int, bytes]


class CertifiedPublic(Message, frozen=True):
    """A public area (TPM2B_PUBLIC, TPM2B_NV_PUBLIC) and the AK's certification; or a point and a statement."""

    public: bytes
    attest: bytes
    signature: bytes


class SensorIdentity(Message, frozen=True):
    """Who and where a device is; pinned at enrolment, carried in evidence.

    `strength` is there only for a device that compares by itself and says yes or no: weak evidence. Left out, it leaves
    the bytes of every other device as they were before there were such devices.
    """

    kind: str
    driver: str
    driver_sha256: str
    transport: str
    port: str
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    strength: Literal["match-only"] | msgspec.UnsetType = msgspec.UNSET

    @property
    def weak(self) -> bool:
        """Whether nothing can be verified of what the device says."""
        return self.strength is not msgspec.UNSET


class FlashClaim(Message, frozen=True):
    """How many hues of the challenge the face was seen to reflect, each in its turn, and what showed them."""

    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_FLASHES)]
    driver: Word
    driver_sha256: Word
    transport: Word


MOST_LOOKS = 100_000


class InfraredClaim(Message, frozen=True):
    """A second camera, in infrared, that saw the same face: which one, and how often it looked and found it so.

    With `strobe` its own light was seen to come and go on the face. The device is pinned at enrolment, as a sensor is.
    """

    sensor: SensorIdentity
    strobe: bool
    looks: Annotated[int, msgspec.Meta(ge=1, le=MOST_LOOKS)]


class PresenceClaim(Message, frozen=True):
    """How a node told that somebody is at it: `kind` ("seat", "button"), by which driver, over which transport."""

    kind: Word
    driver: Word
    driver_sha256: Word
    transport: Word
