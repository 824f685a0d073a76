"""Binding a root to modalities, what it could be for a presentation, and refreshing its shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import combinations

import msgspec
import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from agent.profile.commitment import _frame, _polar, _shamir
from agent.profile.commitment._shamir import xor
from agent.profile.commitment._shares import ROOT_BYTES, SALT_BYTES, SCHEME, BoundShare, ReleasedShare, Shares
from agent.profile.commitment.parameters import CodeParameters
from protocol.codec import length_prefixed

Embedding = NDArray[np.float32]
Random = Callable[[int], bytes]
_LABEL = "keyvigil/commitment/1"
_TOGETHER = 32
"""Words decoded together: their paths fit into a processor's cache."""


@dataclass(frozen=True)
class Candidate:
    """A root that the presentation may have opened; only what the root unlocks can tell.

    `distances` are the shares of signs, 0 to 1, by which each bound modality's probe differs from its candidate: for
    the margin, once the root is known to be right.
    """

    root: bytes = field(repr=False)
    modalities: tuple[str, ...]
    distances: Mapping[str, float]


@dataclass(frozen=True)
class _Opened:
    """One way to open a modality's share: `cost` (0 to 1) is how much of the probe's certainty speaks against it."""

    modality: str
    place: int
    y: bytes = field(repr=False)
    x: bytes | None = field(default=None, repr=False)
    cost: float = 0.0
    distance: float = 0.0


@dataclass(frozen=True)
class _Deriving:
    """Keys of one modality's share: HKDF-SHA256 (RFC 5869) with everything that the share belongs to as info."""

    modality: str
    place: int
    salt: bytes
    pepper: bytes = field(repr=False)
    context: bytes

    def key(self, what: str, secret: bytes = b"") -> bytes:
        """32 bytes for `what`, of `secret`, pepper and salt."""
        info = length_prefixed(_LABEL, what, self.modality, self.place, self.context)
        material = length_prefixed(secret, self.pepper, self.salt)
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(material)


def bind(
    enrolled: Mapping[str, Embedding],
    released: Sequence[str],
    parameters: Mapping[str, CodeParameters],
    pepper: bytes,
    context: bytes,
    random: Random,
) -> tuple[bytes, Shares]:
    """A fresh root (32 bytes) and its shares.

    `enrolled` has for each bound modality the mean of its unit embeddings, float32 `[d]`, the population's mean taken
    off; `released` names the others. Raises `ValueError` unless there are two modalities and one of them is bound.
    """
    names = sorted([*enrolled, *released])
    if not enrolled or len(names) < 2 or len(set(names)) != len(names):
        raise ValueError("a profile needs two modalities, and one whose embedding can be bound (face or voice)")
    x, y, slope = (random(ROOT_BYTES) for _ in range(3))
    bound: dict[str, BoundShare] = {}
    kept: dict[str, ReleasedShare] = {}
    places = range(1, len(names) + 1)
    for place, name, share in zip(places, names, _shamir.line(y, slope, places), strict=True):
        deriving = _Deriving(name, place, random(SALT_BYTES), pepper, context)
        if name in enrolled:
            bound[name] = _committed(deriving, enrolled[name], _code(parameters, name), (x, share), random)
        else:
            kept[name] = ReleasedShare(deriving.salt, xor(share, deriving.key("released")))
    return xor(x, y), Shares(SCHEME, bound, kept)


def candidates(
    shares: Shares,
    probes: Mapping[str, Embedding],
    released: AbstractSet[str],
    parameters: Mapping[str, CodeParameters],
    pepper: bytes,
    context: bytes,
    limit: int = 3,
) -> list[Candidate]:
    """The likeliest roots for embeddings of bound modalities and the released ones whose matcher accepted.

    Two bound modalities that agree in X come first. As many come as there are ways to combine shares, up to `limit`,
    also where none can be right: what follows must not take another time for a near miss. Raises `ValueError` for
    fewer than two modalities that are part of the profile, none of them bound, and for shares of another scheme.
    """
    _require_openable(shares, probes.keys(), released)
    places = shares.places
    ways: list[list[_Opened]] = []
    for name, probe in sorted(probes.items()):
        share = shares.bound[name]
        deriving = _Deriving(name, places[name], share.salt, pepper, context)
        ways.append(_decoded(deriving, share, probe, _code(parameters, name)))
    for name in sorted(released):
        let_go = shares.released[name]
        deriving = _Deriving(name, places[name], let_go.salt, pepper, context)
        ways.append([_Opened(name, places[name], xor(let_go.wrapped_y, deriving.key("released")))])
    return _likeliest(ways, limit)


def candidates_each(
    shares: Shares, probes: NDArray[np.float32], code: CodeParameters, pepper: bytes, context: bytes, limit: int = 3
) -> list[list[bytes]]:
    """The roots that `candidates` gives for each of many probes `[count, d]`, with the released modality let go.

    For whoever tries one record with much: an evaluation, an attack. Raises `ValueError` unless the shares are of one
    bound modality and one released one, and of this scheme.
    """
    if len(shares.bound) != 1 or len(shares.released) != 1:
        raise ValueError("many probes are tried with one bound modality and one released one")
    [(modality, share)], [(released, kept)] = shares.bound.items(), shares.released.items()
    _require_openable(shares, {modality}, {released})
    places = shares.places
    deriving = _Deriving(modality, places[modality], share.salt, pepper, context)
    let_go = _Deriving(released, places[released], kept.salt, pepper, context)
    other = places[released], xor(kept.wrapped_y, let_go.key("released"))
    key, helper = deriving.key("frame"), _helper(deriving, share, code)
    found = []
    for some in np.array_split(probes, max(1, len(probes) // _TOGETHER)):
        ratios = _frame.project_each(some, code.n, key) * helper
        for decoded in _polar.decode_each(ratios, code.k, code.list_size):
            opened = (_unwrapped(deriving, share, message, code) for message in decoded.messages[:limit])
            found.append([xor(x, _shamir.joined((deriving.place, y), other)) for x, y in opened])
    return found


def refresh(shares: Shares, random: Random) -> tuple[bytes, Shares]:
    """Shares of another root that open with the same biometrics, and what the old root is to be xored with (32 bytes).

    A random polynomial of degree one is added to the shares of Y and a random value to X (proactive sharing, Herzberg
    et al. 1995); nothing has to be opened for it.
    """
    shift, start, slope = (random(ROOT_BYTES) for _ in range(3))
    places = shares.places
    added = dict(zip(places, _shamir.line(start, slope, list(places.values())), strict=True))
    replace = msgspec.structs.replace
    bound = {
        name: replace(share, wrapped_x=xor(share.wrapped_x, shift), wrapped_y=xor(share.wrapped_y, added[name]))
        for name, share in shares.bound.items()
    }
    kept = {
        name: replace(share, wrapped_y=xor(share.wrapped_y, added[name])) for name, share in shares.released.items()
    }
    return xor(shift, start), Shares(shares.scheme, bound, kept)


def _committed(
    deriving: _Deriving, embedding: Embedding, code: CodeParameters, secrets: tuple[bytes, bytes], random: Random
) -> BoundShare:
    message = np.unpackbits(np.frombuffer(random((code.k + 7) // 8), np.uint8))[: code.k]
    signs = _projected(deriving, embedding, code) < 0
    helper = np.packbits(signs ^ _polar.encode(message, code.n).astype(bool)).tobytes()
    x, y = (xor(secret, key) for secret, key in zip(secrets, _unwrapping(deriving, message, code), strict=True))
    return BoundShare(deriving.salt, helper, x, y)


def _decoded(deriving: _Deriving, share: BoundShare, probe: Embedding, code: CodeParameters) -> list[_Opened]:
    """Every way that the list decoding gives to open a share."""
    ratios = _projected(deriving, probe, code) * _helper(deriving, share, code)
    decoded = _polar.decode(ratios, code.k, code.list_size)
    distances = (decoded.codewords != (ratios < 0)).mean(axis=1)
    costs = decoded.metrics / np.abs(ratios).sum()
    found = []
    for message, cost, distance in zip(decoded.messages, costs, distances, strict=True):
        x, y = _unwrapped(deriving, share, message, code)
        found.append(_Opened(deriving.modality, deriving.place, y, x, float(cost), float(distance)))
    return found


def _helper(deriving: _Deriving, share: BoundShare, code: CodeParameters) -> NDArray[np.float64]:
    """The stored bits as signs `[n]`."""
    helper = np.unpackbits(np.frombuffer(share.helper, np.uint8))
    if len(helper) != code.n:
        raise ValueError(f"the share of {deriving.modality} was made with another code")
    return 1.0 - 2.0 * helper.astype(np.float64)


def _unwrapped(
    deriving: _Deriving, share: BoundShare, message: NDArray[np.uint8], code: CodeParameters
) -> tuple[bytes, bytes]:
    """X and the share of Y, if `message` is the one that was bound."""
    of_x, of_y = _unwrapping(deriving, message, code)
    return xor(share.wrapped_x, of_x), xor(share.wrapped_y, of_y)


def _projected(deriving: _Deriving, embedding: Embedding, code: CodeParameters) -> NDArray[np.float64]:
    return _frame.project(embedding, code.n, deriving.key("frame"))


def _unwrapping(deriving: _Deriving, message: NDArray[np.uint8], code: CodeParameters) -> tuple[bytes, bytes]:
    """The keystreams over X and over the share of Y."""
    secret = length_prefixed(code.n, code.k, np.packbits(message).tobytes())
    return deriving.key("x", secret), deriving.key("y", secret)


def _likeliest(ways: Sequence[Sequence[_Opened]], limit: int) -> list[Candidate]:
    found: dict[bytes, Candidate] = {}
    for one, other in sorted(_pairs(ways), key=_rank):
        if len(found) < limit:
            root = xor(one.x or other.x or b"", _shamir.joined((one.place, one.y), (other.place, other.y)))
            distances = {each.modality: each.distance for each in (one, other) if each.x is not None}
            found.setdefault(root, Candidate(root, (one.modality, other.modality), distances))
    return list(found.values())


def _pairs(ways: Sequence[Sequence[_Opened]]) -> Iterable[tuple[_Opened, _Opened]]:
    """Every way to open two modalities, one of them bound; bound ones stand before released ones."""
    for some, others in combinations(ways, 2):
        yield from ((one, other) for one in some for other in others if one.x is not None)


def _rank(pair: tuple[_Opened, _Opened]) -> tuple[int, float]:
    one, other = pair
    differ = other.x is not None and one.x != other.x
    agree = other.x is not None and not differ
    return (0 if agree else 2 if differ else 1), one.cost + other.cost


def _require_openable(shares: Shares, probes: AbstractSet[str], released: AbstractSet[str]) -> None:
    if shares.scheme != SCHEME:
        raise ValueError("the profile was made by another scheme: enrol again")
    if not (probes <= shares.bound.keys() and released <= shares.released.keys()):
        raise ValueError("the presentation has a modality that the profile does not have in this way")
    if not probes or len(probes) + len(released) < 2:
        raise ValueError("a presentation needs two modalities, and one of them bound")


def _code(parameters: Mapping[str, CodeParameters], name: str) -> CodeParameters:
    try:
        return parameters[name]
    except KeyError:
        raise ValueError(f"there are no code parameters for {name}") from None
