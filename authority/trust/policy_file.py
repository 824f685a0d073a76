"""The trust policy read from TOML, and everything that can be wrong with one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import msgspec

from authority.trust import behaviour_rules, calendar, staleness
from authority.trust.policy import LIVE, ChallengeRules, Policy, Weights
from authority.trust.policy_ranges import ORDERED, RANGES
from protocol.flashes import FEWEST_FLASHES, MOST_FLASHES
from protocol.levels import EnclaveKind

MOST_MODALITIES = 16
MOST_FAILURES = 5
"""In a row, before an administrator is locked out of a node that is not of the lab."""
_MODALITY = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


class PolicyError(Exception):
    """The policy cannot be used; the message names the key and its range, `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "Correct the policy; docs/trust.md lists every key.") -> None:
        super().__init__(message)
        self.remedy = remedy


def load_policy(path: Path) -> Policy:
    """The policy in the TOML file at `path`; raises `PolicyError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PolicyError(f"{path} cannot be read: {cause}", "Check the path and its permissions.") from None
    try:
        return parse_policy(text)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}", error.remedy) from None


def parse_policy(text: str) -> Policy:
    """The policy in a TOML text; raises `PolicyError` naming the key and the range."""
    try:
        policy = msgspec.convert(tomllib.loads(text), Policy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise PolicyError(str(error)) from None
    problem = next(_problems(policy), None)
    if problem is not None:
        raise PolicyError(problem)
    return policy


def _value(policy: Policy, key: str) -> float:
    section, _, name = key.partition(".")
    value: float = getattr(getattr(policy, section), name)
    return value


def _problems(policy: Policy) -> Iterator[str]:
    if not 0 < len(policy.version) <= 64 or not policy.version.isprintable():
        yield "version must be 1 to 64 printable characters"
    for key, (low, high, lab_low) in RANGES.items():
        bottom = lab_low if policy.lab else low
        value = _value(policy, key)
        if not bottom <= value <= high:
            yield f"{key} = {value:g} is out of range: it must be between {bottom:g} and {high:g}{_hint(policy)}"
    for first, second in ORDERED:
        if _value(policy, first) > _value(policy, second):
            yield f"{first} must not be above {second}"
    if policy.delivery.outage_s > policy.delivery.lease_s / 2:
        yield "delivery.outage_s must not be above half of delivery.lease_s, which is what is left of every lease"
    if policy.lockout.failures > MOST_FAILURES and not policy.lab:
        yield f"lockout.failures must not be above {MOST_FAILURES}{_hint(policy).replace('lower', 'higher')}"
    yield from _flash_problems(policy.challenge)
    yield from _weight_problems(policy.weights)
    yield from _recency_problems(policy)
    yield from _selection_problems(policy.attestation.pcr_selection)
    yield from _enclave_problems(policy.enclaves.allowed)
    yield from _modality_problems(policy)
    yield from behaviour_rules.worth_problems(policy.worth)
    yield from staleness.problems(policy.stale, lab=policy.lab)
    yield from calendar.problems(policy.attended, policy.roster)


def _hint(policy: Policy) -> str:
    return "" if policy.lab else " (a policy with lab = true may go lower, for lab nodes only)"


def _flash_problems(rules: ChallengeRules) -> Iterator[str]:
    if 0 < rules.flashes < FEWEST_FLASHES:
        yield f"challenge.flashes must be 0 or between {FEWEST_FLASHES} and {MOST_FLASHES}"
    if rules.require_flashes and not rules.flashes:
        yield "challenge.require_flashes demands what challenge.flashes = 0 never draws"


def _weight_problems(weights: Weights) -> Iterator[str]:
    if weights.success + weights.speed + weights.quality + weights.behaviour != 1000:
        yield "weights must add up to 1000"
    if not 200 < weights.speed + weights.quality < 500:
        yield "weights.speed + weights.quality must be between 201 and 499"
    if weights.success + weights.behaviour <= 500 or weights.success < 500:
        yield "weights.success must be between 500 and 799, so that success stays the gate"
    if weights.behaviour > 200:
        yield "weights.behaviour must be between 0 and 200"


def _recency_problems(policy: Policy) -> Iterator[str]:
    parts, recency = policy.weights, policy.recency
    fade = 0.5 ** (1 / recency.half_life_presentations)
    personal = parts.success + parts.speed + parts.quality
    prior = recency.prior_weight * recency.prior * personal / 1000
    slow = (prior + parts.success) / (recency.prior_weight + 1) + parts.behaviour
    three = 1 + fade + fade * fade
    clean = (prior + three * personal) / (recency.prior_weight + three) + parts.behaviour
    if slow <= 510:
        yield "weights and recency would let slow, poor answers fall to the low tier: lower recency.prior_weight"
    if clean <= 810:
        yield "weights and recency would keep three clean answers below the high tier: lower recency.prior_weight"


def _enclave_problems(allowed: tuple[str, ...]) -> Iterator[str]:
    known = [kind.value for kind in EnclaveKind]
    if not allowed or len({*allowed}) != len(allowed) or not {*allowed} <= {*known}:
        yield f"enclaves.allowed must name at least one of {', '.join(known)}, each once"


def _modality_problems(policy: Policy) -> Iterator[str]:
    names, least = policy.enrolment.modalities, policy.challenge.min_modalities
    if len({*names}) != len(names) or not all(_MODALITY.fullmatch(name) for name in names):
        yield "enrolment.modalities must name each modality once, with 1 to 32 of a-z 0-9 . _ -"
    if not least <= len(names) <= MOST_MODALITIES:
        yield f"enrolment.modalities must name at least {least} (challenge.min_modalities), at most {MOST_MODALITIES}"
    for name, traits in policy.enrolment.require.items():
        if name not in names and traits != LIVE.get(name):
            yield f"enrolment.require names {name[:32]!r}, which is not one of enrolment.modalities"
        if name in names and {*traits} & {*policy.enrolment.refuse}:
            yield f"enrolment.require demands of {name[:32]!r} what enrolment.refuse refuses"
    if not all(map(_MODALITY.fullmatch, chain(policy.enrolment.refuse, *policy.enrolment.require.values()))):
        yield "traits in enrolment.require and enrolment.refuse have 1 to 32 of a-z 0-9 . _ -"


def _selection_problems(selection: tuple[int, ...]) -> Iterator[str]:
    if not selection or list(selection) != sorted({*selection}) or not all(0 <= index <= 23 for index in selection):
        yield "attestation.pcr_selection must name PCRs between 0 and 23, ascending, each once, at least one"
