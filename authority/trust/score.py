"""The trust score: integer thousandths from a history of presentations, with its explanation. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from authority.trust.behaviour import UNBLEMISHED, Conduct
from authority.trust.behaviour_rules import Worth
from authority.trust.calendar import attended_s
from authority.trust.policy import Policy, SpeedRules
from protocol.levels import EnclaveKind

FULL = 1000
QUALITY_LEVELS = 4
"""Highest quality bucket of evidence (`protocol.evidence.LEVELS` - 1)."""
_UNIT = 1_000_000
_HISTORY = 64


class PresentationKind(StrEnum):
    """How a summons ended."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    MISSED = "missed"


@dataclass(frozen=True)
class Presentation:
    """One decided presentation: POSIX seconds, and for an accepted one speed and quality in thousandths.

    `weak`: it was accepted only because a device that says yes or no, and nothing else, was believed. `models` names
    the models of its other modalities; of presentations before there were such names there are none. `shared`: it took
    place at the sensor node of the node's challenge group.
    """

    at: float
    kind: PresentationKind
    speed: int = 0
    quality: int = 0
    weak: bool = False
    models: tuple[str, ...] = ()
    shared: bool = False


@dataclass(frozen=True)
class Circumstances:
    """What caps the score beside the history. `conduct` is what the signals about the node make of its behaviour.

    `enclave` is the kind that the node joined with, `owned` whether the authority holds its owner's authorisation.

    `recovering`: the node is isolated, or nothing has been accepted since its last isolation or release.
    """

    attestation_failed: bool = False
    attestation_overdue: bool = False
    enclave: str = EnclaveKind.TPM2.value
    owned: bool = True
    recovering: bool = False
    conduct: Conduct = UNBLEMISHED


@dataclass(frozen=True)
class Assessment:
    """Score in thousandths, what it is made of in words, and the rows at the end of the history."""

    score: int
    explanation: str
    failures_in_row: int
    missed_last: bool
    stale: bool


@dataclass(frozen=True)
class _Cap:
    limit: int
    why: str


def assess(policy: Policy, history: Sequence[Presentation], circumstances: Circumstances, now: float) -> Assessment:
    """Score of a node whose presentations are `history`, oldest first.

    A recency-weighted mean over the presentations and the prior, each worth its success, speed and quality; a
    presentation that was not accepted has no speed or quality, a missed one keeps the prior's. Raising a speed, a
    quality, a kind (failed < missed < accepted) or a circumstance, or making a weak acceptance a strong one, or one
    by limited models one by a full model, never lowers the result. Presentations age by attended time, so that an
    empty night or weekend costs nothing.
    """
    recent = history[-_HISTORY:]
    ages = [max(0.0, attended_s(policy.attended, each.at, now)) for each in recent]
    losses = _losses(policy, recent, circumstances.conduct, ages)
    worth = max(0, (FULL * _UNIT - sum(losses.values())) // _UNIT)
    failures = _failures_in_row(recent)
    stale = [*_staleness(policy, recent, now)]
    newest = [*_weakness(policy, recent), *_worth(policy, recent), *_sharing(policy, recent)]
    caps = [*_caps(policy, circumstances, failures), *newest, *stale]
    lowest = min(caps, key=lambda cap: cap.limit, default=None)
    score = min(worth, lowest.limit) if lowest else worth
    return Assessment(
        score,
        _explain(score, worth, losses, lowest),
        failures,
        bool(recent) and recent[-1].kind is PresentationKind.MISSED,
        bool(stale),
    )


def speed_value(policy: Policy, elapsed_s: float, modalities: Sequence[str]) -> int:
    """Thousandths: 1000 up to the sum of the modalities' norms, from there linearly to 0 at the activation deadline."""
    norm = sum(_norm_s(policy.speed, modality) for modality in modalities)
    deadline = policy.challenge.activation_s
    if elapsed_s <= norm:
        return FULL
    if elapsed_s >= deadline:
        return 0
    return int(FULL * (deadline - elapsed_s) / (deadline - norm))


def quality_value(bucket: int) -> int:
    """Thousandths of a quality bucket 0 to 4; raises `ValueError` outside."""
    if not 0 <= bucket <= QUALITY_LEVELS:
        raise ValueError(f"a quality bucket is 0 to {QUALITY_LEVELS}, not {bucket}")
    return bucket * FULL // QUALITY_LEVELS


def is_too_fast(policy: Policy, elapsed_s: float) -> bool:
    """Whether an answer came sooner than any live presentation could."""
    return elapsed_s < policy.speed.min_elapsed_s


def _norm_s(rules: SpeedRules, modality: str) -> float:
    norms = {"fingerprint": rules.fingerprint_s, "face": rules.face_s, "voice": rules.voice_s}
    return norms.get(modality, rules.other_s)


def _weight(policy: Policy, position: int, age_s: float) -> int:
    """Millionths; `position` counts back from the newest presentation."""
    halvings = position / policy.recency.half_life_presentations + age_s / policy.recency.half_life_s
    return round(_UNIT * math.pow(0.5, halvings))


def _losses(
    policy: Policy, recent: Sequence[Presentation], behaviour: Conduct, ages: Sequence[float]
) -> dict[str, int]:
    """What each cause costs, in thousandths times a million, against a score of 1000."""
    weights = [_weight(policy, len(recent) - 1 - index, age) for index, age in enumerate(ages)]
    prior = round(_UNIT * policy.recency.prior_weight)
    total = prior + sum(weights)
    parts = policy.weights
    personal = parts.success + parts.speed + parts.quality
    causes = {"short history": prior * personal * (FULL - policy.recency.prior)}
    for each, weight in zip(recent, weights, strict=True):
        for cause, loss in _presentation_losses(policy, each).items():
            causes[cause] = causes.get(cause, 0) + weight * loss
    losses = {cause: -(-loss * _UNIT // (total * FULL)) for cause, loss in causes.items()}
    named = f"behaviour ({', '.join(behaviour.kinds)})" if behaviour.kinds else "behaviour"
    losses[named] = parts.behaviour * (FULL - behaviour.value) * _UNIT // FULL
    return losses


def _presentation_losses(policy: Policy, each: Presentation) -> dict[str, int]:
    """Loss of one presentation by cause, in millionths of the score."""
    parts = policy.weights
    match each.kind:
        case PresentationKind.ACCEPTED:
            speed, quality = parts.speed * (FULL - each.speed), parts.quality * (FULL - each.quality)
            return {"speed": speed, "quality": quality}
        case PresentationKind.MISSED:
            unknown = (parts.speed + parts.quality) * (FULL - policy.recency.prior)
            return {"missed challenge": parts.success * FULL + unknown}
        case PresentationKind.FAILED:
            return {"failed presentation": (parts.success + parts.speed + parts.quality) * FULL}


def _failures_in_row(recent: Sequence[Presentation]) -> int:
    """Failures since the last acceptance; a missed summons between them neither counts nor ends the row."""
    count = 0
    for each in reversed(recent):
        if each.kind is PresentationKind.ACCEPTED:
            break
        count += each.kind is PresentationKind.FAILED
    return count


def _caps(policy: Policy, circumstances: Circumstances, failures: int) -> list[_Cap]:
    caps = policy.caps
    rules = (
        (circumstances.attestation_failed, caps.attestation_failed, "the machine's attestation failed"),
        (failures >= 2, caps.two_failures, "the last presentations failed"),
        (circumstances.conduct.hostile, caps.hostile, "hostile behaviour was confirmed"),
        (circumstances.recovering, caps.two_failures, "recovering from isolation"),
        (failures == 1, caps.one_failure, "the last presentation failed"),
        (circumstances.attestation_overdue, caps.attestation_overdue, "the machine's attestation is overdue"),
    )
    applying = [_Cap(limit, why) for applies, limit, why in rules if applies]
    return applying + _enclave_caps(policy, circumstances.enclave, owned=circumstances.owned)


def _enclave_caps(policy: Policy, kind: str, *, owned: bool) -> list[_Cap]:
    if kind not in policy.enclaves.allowed:
        return [_Cap(0, f"{kind} enclave, a kind that the policy does not allow")]
    limit = policy.enclave_cap(kind, owned=owned)
    unowned = kind == EnclaveKind.TPM2.value
    why = "a TPM whose owner the authority is not" if unowned else f"{kind} enclave, which attests to nothing"
    return [_Cap(limit, why)] if limit < FULL else []


def _weakness(policy: Policy, recent: Sequence[Presentation]) -> list[_Cap]:
    """The newest acceptance decides, so that a strong one ends the cap and a failure does not."""
    newest = _newest_accepted(recent)
    if newest is None or not newest.weak:
        return []
    return [_Cap(policy.caps.match_only, "the last accepted presentation needed a reader that only says yes or no")]


def _worth(policy: Policy, recent: Sequence[Presentation]) -> list[_Cap]:
    """As for weak evidence: the newest acceptance needs a model that is worth full trust by itself."""
    newest = _newest_accepted(recent)
    if newest is None or not newest.models or any(policy.worth.of(model) is Worth.FULL for model in newest.models):
        return []
    return [_Cap(policy.caps.default_face, "no model of the last accepted presentation is worth full trust")]


def _sharing(policy: Policy, recent: Sequence[Presentation]) -> list[_Cap]:
    """As for weakness: the newest acceptance decides."""
    newest = _newest_accepted(recent)
    if newest is None or not newest.shared:
        return []
    return [_Cap(policy.groups.cap, "the last accepted presentation was at the group's sensor node")]


def _newest_accepted(recent: Sequence[Presentation]) -> Presentation | None:
    return next((each for each in reversed(recent) if each.kind is PresentationKind.ACCEPTED), None)


def _staleness(policy: Policy, recent: Sequence[Presentation], now: float) -> list[_Cap]:
    accepted = [each.at for each in recent if each.kind is PresentationKind.ACCEPTED]
    if not accepted:
        return [_Cap(500, "no accepted presentation yet")]
    age = attended_s(policy.attended, accepted[-1], now)
    if age > policy.caps.stale_low_s:
        return [_Cap(500, "the last accepted presentation is long ago")]
    return [_Cap(800, "the last accepted presentation is long ago")] if age > policy.caps.stale_medium_s else []


def _explain(score: int, worth: int, losses: dict[str, int], cap: _Cap | None) -> str:
    rounded = {cause: round(loss / _UNIT / 10) for cause, loss in losses.items()}
    parts = [f"{cause} \u2212{hundredths / 100:.2f}" for cause, hundredths in rounded.items() if hundredths]
    if cap is not None and cap.limit < worth:
        parts.append(f"capped at {cap.limit / FULL:.2f}: {cap.why}")
    return f"{score / FULL:.2f}: {', '.join(parts) or 'nothing against it'}"
