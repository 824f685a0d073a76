"""Openings of the commitments in evidence: what is exported of one, how it is checked, and the consent to keep any."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from protocol.bounds import Identifier, Number
from protocol.codec import ProtocolViolation
from protocol.evidence import BLINDING_BYTES, commit, commitment_context, merkle_root
from protocol.messages import Message, ModalityModel

OPENING_FORM = "keyvigil/opening/1"
LARGEST_OPENING = 256 * 1024
"""Bytes of an exported opening, more than any modality's features need."""
MOST_LEAVES = 64
EVIDENCE = "evidence"
"""Kind of the audit record that an opening is checked against."""
_AGREED = re.compile(r"[^+]{1,32}\+openings-([0-9]{1,8})")
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_CLAUSE = (
    " For {span} after each presentation this machine also keeps, encrypted, what it measured of you then, so that an "
    "auditor can check what was signed. Nobody is shown it unless you agree again, and it is erased with your profile."
)


class Opening(Message, frozen=True):
    """One modality's opening: features (int16 little-endian), 32 blinding bytes, and the leaves beside its own.

    `index` is the place of its leaf among `leaves`, `consent_version` what the person agreed to when enrolling.
    """

    form: str
    node_id: Identifier
    record_id: Identifier
    challenge_id: Identifier
    nonce: bytes
    model: ModalityModel
    features: bytes
    blinding: bytes
    index: Number
    leaves: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=MOST_LEAVES)]
    consent_version: str

    def __repr__(self) -> str:
        return f"Opening(challenge_id={self.challenge_id!r}, modality={self.model.modality!r})"


def opened_root(opening: Opening) -> bytes:
    """The Merkle root that the opening leads to; raises `ProtocolViolation` when its leaf is another one's."""
    if opening.form != OPENING_FORM:
        raise ProtocolViolation("this opening has another form")
    if len(opening.blinding) != BLINDING_BYTES or opening.index >= len(opening.leaves):
        raise ProtocolViolation("this opening is not whole")
    context = commitment_context(opening.node_id, opening.record_id, opening.challenge_id)
    leaf = commit(opening.blinding, context, opening.nonce, opening.model, opening.features)
    if opening.leaves[opening.index] != leaf:
        raise ProtocolViolation("the features are not those that were committed to")
    return merkle_root(opening.leaves)


def with_openings(version: str, window_s: float) -> str:
    """The version of a consent text that lets openings be kept for a window."""
    return f"{version}+openings-{int(window_s)}"


def openings_clause(window_s: float) -> str:
    """What such a text says of it, word for word."""
    seconds = int(window_s)
    size, name = next(unit for unit in _UNITS if seconds % unit[0] == 0)
    number = seconds // size
    return _CLAUSE.format(span=f"{number} {name}" if number == 1 else f"{number} {name}s")


def agreed_window_s(version: str) -> float:
    """How long openings may be kept by a consent of this version; 0 where it does not speak of them."""
    found = _AGREED.fullmatch(version)
    return float(found[1]) if found is not None else 0.0


def check_consent(version: str, text: str) -> None:
    """Raise `ProtocolViolation` when the text does not say what its version would allow."""
    window_s = agreed_window_s(version)
    if window_s and openings_clause(window_s) not in text:
        raise ProtocolViolation("the consent's version allows openings to be kept, and its text does not say so")
