"""An opened profile, and the roots that a presentation may try at its key."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from agent.hardening import wipe
from agent.profile._key import masked
from agent.profile._past import Past
from agent.profile._record import ProfileSecrets, RecordHeader
from agent.profile.commitment import Candidate, CodeParameters, candidates, parameters_for
from hal import Enclave
from protocol.codec import length_prefixed
from protocol.guard import MOST_CANDIDATES

Probes = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class OpenVersion:
    """One version of a profile, opened; `past` are digests of earlier captures by modality, the oldest first.

    `number` is that of the last evidence.
    """

    header: RecordHeader
    secrets: ProfileSecrets = field(repr=False)
    past: Past = field(repr=False)
    number: int
    past_key: bytes = field(repr=False)
    pepper: bytes = field(repr=False)

    @property
    def parameters(self) -> dict[str, CodeParameters]:
        """The code of each bound modality."""
        return {name: parameters_for(code) for name, code in self.header.codes.items()}

    def tag_key(self) -> bytes:
        """The key of this profile's replay tags (32 bytes): the same over every refresh, another for every profile.

        Of the pepper alone, which the authority has never seen, so that nobody there can compute a tag.
        """
        info = length_prefixed("keyvigil/replay-tag-key/1", self.header.context)
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(self.pepper)

    def candidates(self, probes: Probes, released: AbstractSet[str], limit: int) -> list[Candidate]:
        """Roots that these modalities may open; none when they are too few."""
        if not probes or len(probes) + len(released) < 2:
            return []
        context = self.header.context
        return candidates(self.secrets.shares, probes, released, self.parameters, self.pepper, context, limit)


@dataclass(frozen=True)
class Unlocked:
    """A version with a root that its key may answer to; `distances` are those of the bound modalities behind it."""

    version: OpenVersion
    root: bytes = field(repr=False)
    modalities: tuple[str, ...]
    distances: Mapping[str, float]

    def auth(self) -> bytes:
        """The profile key's authorisation value, if the root is right."""
        return masked(self.version.secrets.masked_auth, self.root, self.version.header.record_id)

    def wipe(self) -> None:
        """Overwrite the root."""
        wipe(self.root)

    def sign(self, enclave: Enclave, digest: bytes) -> bytes:
        """The profile key's ECDSA signature (r ‖ s) over a SHA-256 digest.

        Raises `AuthorisationFailed` when the root is not the right one, which the enclave counts, `Locked`, `NotFound`.
        """
        auth = self.auth()
        try:
            return self.version.header.key.sign(enclave, self.root, auth, digest)
        finally:
            wipe(auth)


@dataclass(frozen=True)
class OpenProfile:
    """A profile that was opened for one presentation, the newest version first: `wipe` it as soon as that has ended.

    There are two versions only where a refresh was interrupted; the enclave alone tells which is in force.
    """

    versions: tuple[OpenVersion, ...]

    @property
    def header(self) -> RecordHeader:
        """What the newest version says in clear."""
        return self.versions[0].header

    @property
    def templates(self) -> Mapping[str, bytes]:
        """Templates of the released modalities."""
        return self.versions[0].secrets.templates

    @property
    def sides(self) -> Mapping[str, bytes]:
        """What the bound modalities keep beside their share."""
        return self.versions[0].secrets.sides

    @property
    def past(self) -> Past:
        """Digests of earlier captures."""
        return self.versions[0].past

    def attempts(self, probes: Probes, released: AbstractSet[str]) -> list[Unlocked]:
        """At most three roots of each version, the likeliest first, those of two versions by turns."""
        ranked = [
            [
                Unlocked(version, one.root, one.modalities, one.distances)
                for one in version.candidates(probes, released, MOST_CANDIDATES)
            ]
            for version in self.versions
        ]
        return [one for one in chain.from_iterable(zip_longest(*ranked)) if one is not None]

    def wipe(self) -> None:
        """Overwrite what opened the versions."""
        for version in self.versions:
            wipe(version.pepper)
            wipe(version.past_key)


def agreeing(unlocked: Unlocked, probes: Probes, released: AbstractSet[str]) -> dict[str, float]:
    """Distances of all bound modalities that open the same root, those that were not needed for it included.

    For after the enclave has said that the root is right.
    """
    found = dict(unlocked.distances)
    for name, probe in probes.items():
        if name in found:
            continue
        partners = ({}, released) if released else ({other: probes[other] for other in unlocked.distances}, frozenset())
        limit = _every_way(unlocked.version.parameters, name, partners[0])
        for one in unlocked.version.candidates({name: probe, **partners[0]}, partners[1], limit):
            if one.root == unlocked.root and name in one.distances:
                found[name] = one.distances[name]
                break
    return found


def _every_way(parameters: Mapping[str, CodeParameters], name: str, partners: Probes) -> int:
    ways = parameters[name].list_size
    return ways * max((parameters[other].list_size for other in partners), default=1) * max(1, len(partners) + 1)
