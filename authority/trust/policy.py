"""The trust policy: every number that a site may choose, with its range, read from TOML."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec

from authority.trust import behaviour_rules, calendar
from authority.trust.behaviour_rules import BehaviourRules, WorthRules
from protocol.gestures import FEWEST_STEPS, MOST_STEPS
from protocol.levels import EnclaveKind, Rotation

MOST_MODALITIES = 16
MOST_FAILURES = 5
"""In a row, before an administrator is locked out of a node that is not of the lab."""
_MODALITY = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
HOUR_S = 3600.0
DAY_S = 86400.0

LIVE: Final[dict[str, tuple[str, ...]]] = {"face": ("gestures",), "voice": ("spoken-digits",)}
"""The traits without which a picture of the face or a recording of the voice would answer any challenge."""


class PolicyError(Exception):
    """The policy cannot be used; the message names the key and its range, `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "Correct the policy; docs/trust.md lists every key.") -> None:
        super().__init__(message)
        self.remedy = remedy


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Weights(_Section, frozen=True):
    """Share of each part of the score in thousandths; they add up to 1000."""

    success: int = 550
    speed: int = 175
    quality: int = 175
    behaviour: int = 100


class Recency(_Section, frozen=True):
    """How fast the past fades. `prior` (thousandths) counts like `prior_weight` presentations that never fade."""

    half_life_presentations: float = 2.5
    half_life_s: float = 7 * DAY_S
    prior: int = 500
    prior_weight: float = 1.0


class SpeedRules(_Section, frozen=True):
    """Seconds that a modality takes a practised person; an answer faster than `min_elapsed_s` is no live one."""

    fingerprint_s: float = 6.0
    face_s: float = 10.0
    voice_s: float = 12.0
    other_s: float = 10.0
    min_elapsed_s: float = 2.0


class Caps(_Section, frozen=True):
    """Upper bounds of the score (thousandths) and the ages of the last acceptance that bring `stale_*` about."""

    one_failure: int = 800
    two_failures: int = 500
    attestation_failed: int = 0
    attestation_overdue: int = 800
    software_enclave: int = 800
    pkcs11_enclave: int = 800
    match_only: int = 800
    default_face: int = 800
    hostile: int = 500
    stale_medium_s: float = 2 * DAY_S
    stale_low_s: float = 4 * DAY_S


class ChallengeRules(_Section, frozen=True):
    """When people are summoned, how long a summons and an activated challenge wait, and what an answer must carry.

    `min_s`, `max_s` and `grace_s` count in attended time; `checkin_s` lies between two summonses that a node asks for.
    """

    min_s: float = HOUR_S
    max_s: float = DAY_S
    grace_s: float = 900.0
    activation_s: float = 60.0
    min_modalities: int = 2
    gestures: int = 4
    require_presence: bool = False
    checkin_s: float = 600.0


class Week(_Section, frozen=True):
    """Windows of each weekday, "08:00-12:00" each, in the site's time zone."""

    mon: tuple[str, ...] = ()
    tue: tuple[str, ...] = ()
    wed: tuple[str, ...] = ()
    thu: tuple[str, ...] = ()
    fri: tuple[str, ...] = ()
    sat: tuple[str, ...] = ()
    sun: tuple[str, ...] = ()


class AttendedHours(Week, frozen=True):
    """When people are at the site; always without a `time_zone` (IANA name). `holidays` are dates, 2026-12-25 say."""

    time_zone: str = ""
    holidays: tuple[str, ...] = ()


class EnrolmentRules(_Section, frozen=True):
    """The modalities that a profile may have and that count in an answer, by the names that nodes have for them.

    `require` names for a modality the traits that it must have (`LIVE` unless the policy names others), `refuse` traits
    that none may have: a profile without or with them is not registered, and one of before counts for nothing in that
    modality.
    """

    modalities: tuple[str, ...] = ("fingerprint", "face", "voice")
    require: dict[str, tuple[str, ...]] = msgspec.field(default_factory=LIVE.copy)
    refuse: tuple[str, ...] = ("own-threshold",)

    def objection(self, modality: str, traits: AbstractSet[str]) -> str:
        """What speaks against a modality with these traits, for a person; empty when nothing does."""
        if modality not in self.modalities:
            return f"{modality} is not accepted"
        for trait in self.require.get(modality, ()):
            if trait not in traits:
                return f"{modality} must have {trait}"
        return next((f"{modality} must not have {trait}" for trait in self.refuse if trait in traits), "")


class AttestationRules(_Section, frozen=True):
    """Machine attestation: its period, the time to answer, when silence counts, and the PCRs that are quoted.

    Where `require_nv` is false, a node with a TPM may leave counter and measurement out until it has shown them once.
    """

    interval_s: float = 300.0
    answer_s: float = 60.0
    overdue_after_s: float = 1200.0
    pcr_selection: tuple[int, ...] = (0, 2, 4, 7)
    require_nv: bool = False


class EnclaveRules(_Section, frozen=True):
    """Kinds of enclave with which a node may join and hold keys."""

    allowed: tuple[str, ...] = (EnclaveKind.TPM2.value,)


class CertificateRules(_Section, frozen=True):
    """Lifetime of client certificates."""

    lifetime_s: float = DAY_S


class RotationRules(_Section, frozen=True):
    """Seconds between two key epochs of a node, by what its tier grants.

    `drain_s`: for how long a receiver still takes packets under a key that the sender has left.
    """

    standard_s: float = DAY_S
    increased_s: float = HOUR_S
    very_fast_s: float = 300.0
    drain_s: float = 5.0

    def period_s(self, rotation: Rotation) -> float:
        """Seconds between two epochs."""
        match rotation:
            case Rotation.STANDARD:
                return self.standard_s
            case Rotation.INCREASED:
                return self.increased_s
            case Rotation.VERY_FAST:
                return self.very_fast_s


class IsolationRules(_Section, frozen=True):
    """Failed presentations in a row that isolate, and accepted ones in a row that end it."""

    failures: int = 3
    recover_after: int = 2


class BrakeRules(_Section, frozen=True):
    """How many nodes, of what share of the fleet, may be demoted or isolated within the window before we stop."""

    percent: float = 20.0
    nodes: int = 5
    window_s: float = HOUR_S


class GroupRules(_Section, frozen=True):
    """The score (thousandths) that a node can reach by presentations at its group's sensor node."""

    cap: int = 800


class LockoutRules(_Section, frozen=True):
    """Failed presentations in a row that lock a profile, and for how long; how often it may be presented in a day."""

    failures: int = 5
    duration_s: float = 900.0
    releases_per_day: int = 60


class DeliveryRules(_Section, frozen=True):
    """How long a delivered bundle is good for; it is renewed at half of that.

    `outage_s`: for so long a high node can go on rotating without the authority; it holds that many epochs ahead, and
    one at least. None with 0.
    """

    lease_s: float = 26 * HOUR_S
    outage_s: float = 0.0


class SchedulerRules(_Section, frozen=True):
    """Seconds between recomputations of all scores, and the silence that counts as an outage of the authority."""

    refresh_s: float = 60.0
    outage_s: float = 30.0


class LogRules(_Section, frozen=True):
    """How often the audit log is signed: after so many seconds if it grew, or after so many records."""

    checkpoint_s: float = 300.0
    checkpoint_records: int = 1000


class Policy(_Section, frozen=True):
    """A versioned policy. `lab` allows periods of seconds; it then binds lab nodes only."""

    version: str
    lab: bool = False
    weights: Weights = Weights()
    recency: Recency = Recency()
    behaviour: BehaviourRules = BehaviourRules()
    worth: WorthRules = WorthRules()
    speed: SpeedRules = SpeedRules()
    caps: Caps = Caps()
    challenge: ChallengeRules = ChallengeRules()
    attended: AttendedHours = AttendedHours()
    roster: dict[str, Week] = {}
    enrolment: EnrolmentRules = EnrolmentRules()
    attestation: AttestationRules = AttestationRules()
    enclaves: EnclaveRules = EnclaveRules()
    certificate: CertificateRules = CertificateRules()
    rotation: RotationRules = RotationRules()
    isolation: IsolationRules = IsolationRules()
    brake: BrakeRules = BrakeRules()
    groups: GroupRules = GroupRules()
    lockout: LockoutRules = LockoutRules()
    delivery: DeliveryRules = DeliveryRules()
    scheduler: SchedulerRules = SchedulerRules()
    log: LogRules = LogRules()

    def challenge_interval_s(self, *, lab_node: bool) -> tuple[float, float]:
        """Shortest and longest time to the next challenge; a lab policy leaves other nodes at an hour or more."""
        low, high = self.challenge.min_s, self.challenge.max_s
        return (low, high) if lab_node else (max(low, HOUR_S), max(high, HOUR_S))

    def enclave_cap(self, kind: str) -> int:
        """The score (thousandths) that a node with this kind of enclave can reach; 0 for a kind that is not allowed."""
        if kind not in self.enclaves.allowed:
            return 0
        caps = {
            EnclaveKind.PKCS11.value: self.caps.pkcs11_enclave,
            EnclaveKind.SOFTWARE.value: self.caps.software_enclave,
        }
        return caps.get(kind, 1000)

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of every setting: two policies under one label differ in it."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def identity(self) -> dict[str, str]:
        """Label and hash, as they stand in the audit log with each decision."""
        return {"version": self.version, "sha256": self.sha256}

    def as_dict(self) -> dict[str, Any]:
        """Every setting as JSON values."""
        values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return values


_RANGES: dict[str, tuple[float, float, float]] = {
    "weights.success": (0, 1000, 0),
    "weights.speed": (0, 1000, 0),
    "weights.quality": (0, 1000, 0),
    "weights.behaviour": (0, 1000, 0),
    "recency.half_life_presentations": (1, 20, 1),
    "recency.half_life_s": (DAY_S, 90 * DAY_S, 60),
    "recency.prior": (300, 500, 300),
    "recency.prior_weight": (0.5, 3, 0.5),
    "speed.fingerprint_s": (1, 60, 0.1),
    "speed.face_s": (1, 60, 0.1),
    "speed.voice_s": (1, 60, 0.1),
    "speed.other_s": (1, 60, 0.1),
    "speed.min_elapsed_s": (0.5, 30, 0),
    "caps.one_failure": (0, 800, 0),
    "caps.two_failures": (0, 500, 0),
    "caps.attestation_failed": (0, 0, 0),
    "caps.attestation_overdue": (0, 800, 0),
    "caps.software_enclave": (0, 800, 0),
    "caps.pkcs11_enclave": (0, 900, 0),
    "caps.match_only": (0, 800, 0),
    "caps.stale_medium_s": (HOUR_S, 30 * DAY_S, 1),
    "caps.stale_low_s": (HOUR_S, 60 * DAY_S, 1),
    "challenge.min_s": (HOUR_S, DAY_S, 1),
    "challenge.max_s": (HOUR_S, DAY_S, 1),
    "challenge.grace_s": (60, 4 * HOUR_S, 1),
    "challenge.activation_s": (15, 300, 1),
    "challenge.checkin_s": (60, DAY_S, 0),
    "challenge.min_modalities": (2, 10, 1),
    "challenge.gestures": (3, MOST_STEPS, FEWEST_STEPS),
    "attestation.interval_s": (30, DAY_S, 1),
    "attestation.answer_s": (5, 600, 1),
    "attestation.overdue_after_s": (60, 7 * DAY_S, 1),
    "certificate.lifetime_s": (600, 7 * DAY_S, 10),
    "rotation.standard_s": (300, 30 * DAY_S, 1),
    "rotation.increased_s": (60, 7 * DAY_S, 1),
    "rotation.very_fast_s": (10, DAY_S, 1),
    "rotation.drain_s": (1, 600, 0),
    "isolation.failures": (2, 10, 2),
    "isolation.recover_after": (1, 10, 1),
    "brake.percent": (1, 100, 1),
    "brake.nodes": (2, 1_000_000, 2),
    "brake.window_s": (600, DAY_S, 10),
    "groups.cap": (0, 1000, 0),
    "lockout.failures": (2, 10, 2),
    "lockout.duration_s": (60, 7 * DAY_S, 1),
    "lockout.releases_per_day": (5, 100_000, 1),
    "delivery.lease_s": (300, 30 * DAY_S, 5),
    "delivery.outage_s": (0, 7 * DAY_S, 0),
    "scheduler.refresh_s": (1, HOUR_S, 0.1),
    "scheduler.outage_s": (5, HOUR_S, 1),
    **behaviour_rules.RANGES,
    "log.checkpoint_s": (10, DAY_S, 1),
    "log.checkpoint_records": (1, 1_000_000, 1),
}
"""Lowest and highest value of each key, and the lowest under a lab policy."""

_ORDERED = (
    ("challenge.min_s", "challenge.max_s"),
    ("challenge.activation_s", "challenge.max_s"),
    ("attestation.interval_s", "attestation.overdue_after_s"),
    ("caps.stale_medium_s", "caps.stale_low_s"),
    ("caps.two_failures", "caps.one_failure"),
    ("rotation.very_fast_s", "rotation.increased_s"),
    ("rotation.increased_s", "rotation.standard_s"),
    *behaviour_rules.ORDERED,
)
"""Pairs of keys of which the first may not be above the second."""


def default_policy() -> Policy:
    """The policy of a site that chose nothing."""
    return Policy(version="default-1")


def load_policy(path: Path) -> Policy:
    """The policy in the TOML file at `path`; raises `PolicyError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} cannot be read: {error}", "Check the path and its permissions.") from None
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
    for key, (low, high, lab_low) in _RANGES.items():
        bottom = lab_low if policy.lab else low
        value = _value(policy, key)
        if not bottom <= value <= high:
            yield f"{key} = {value:g} is out of range: it must be between {bottom:g} and {high:g}{_hint(policy)}"
    for first, second in _ORDERED:
        if _value(policy, first) > _value(policy, second):
            yield f"{first} must not be above {second}"
    if policy.delivery.outage_s > policy.delivery.lease_s / 2:
        yield "delivery.outage_s must not be above half of delivery.lease_s, which is what is left of every lease"
    if policy.lockout.failures > MOST_FAILURES and not policy.lab:
        yield f"lockout.failures must not be above {MOST_FAILURES}{_hint(policy).replace('lower', 'higher')}"
    yield from _weight_problems(policy.weights)
    yield from _recency_problems(policy)
    yield from _selection_problems(policy.attestation.pcr_selection)
    yield from _enclave_problems(policy.enclaves.allowed)
    yield from _modality_problems(policy)
    yield from behaviour_rules.worth_problems(policy.worth)
    yield from calendar.problems(policy.attended, policy.roster)


def _hint(policy: Policy) -> str:
    return "" if policy.lab else " (a policy with lab = true may go lower, for lab nodes only)"


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
