"""The trust policy: every number that a site may choose. `policy_ranges` has their bounds, `policy_file` reads TOML."""

from __future__ import annotations

import hashlib
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal

import msgspec

from authority.trust.behaviour_rules import BehaviourRules, WorthRules
from authority.trust.staleness import StaleRules
from protocol.levels import EnclaveKind, Rotation

HOUR_S = 3600.0
DAY_S = 86400.0

LIVE: Final[dict[str, tuple[str, ...]]] = {"face": ("gestures",), "voice": ("spoken-digits",)}
"""The traits without which a picture of the face or a recording of the voice would answer any challenge."""


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
    unowned_tpm: int = 800
    match_only: int = 800
    default_face: int = 800
    hostile: int = 500
    stale_medium_s: float = 2 * DAY_S
    stale_low_s: float = 4 * DAY_S


class ChallengeRules(_Section, frozen=True):
    """When people are summoned, how long a summons and an activated challenge wait, and what an answer must carry.

    `min_s`, `max_s` and `grace_s` count in attended time; `checkin_s` lies between two summonses that a node asks for.
    `flashes` are drawn for nodes with a screen; with `require_flashes` a face counts only where they were judged, with
    `require_infrared` only where the infrared camera of its enrolment looked on.
    """

    min_s: float = HOUR_S
    max_s: float = DAY_S
    grace_s: float = 900.0
    activation_s: float = 60.0
    min_modalities: int = 2
    gestures: int = 4
    flashes: int = 0
    require_flashes: bool = False
    require_infrared: bool = False
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
    """Kinds of enclave with which a node may join and hold keys.

    `unowned`: what becomes of a node whose TPM's owner authorisation the authority does not hold. Its score is
    "capped", or its profiles are "refused".
    """

    allowed: tuple[str, ...] = (EnclaveKind.TPM2.value,)
    unowned: Literal["capped", "refused"] = "capped"


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


class OpeningRules(_Section, frozen=True):
    """How long nodes keep the openings of commitments, of people who agreed to it; 0: destroyed at once."""

    window_s: float = 0.0


class ReplayRules(_Section, frozen=True):
    """How long a sample's tag is remembered, and whether each modality that is not weak must have one.

    Where `require` is false, a profile may leave the tag of a modality out until it has shown one once.
    """

    window_s: float = 30 * DAY_S
    require: bool = False


class VersionRules(_Section, frozen=True):
    """How many outdated versions a network keeps, and for how long those that a newer outdated one replaced."""

    outdated_kept: int = 1
    outdated_s: float = 30 * DAY_S


class MappingRules(_Section, frozen=True):
    """Whether the endpoint that a node reports is taken: where no operator set one, always, or never."""

    reported_endpoints: Literal["unset", "always", "never"] = "unset"


class SchedulerRules(_Section, frozen=True):
    """Seconds between recomputations of all scores, and the silence that counts as an outage of the authority."""

    refresh_s: float = 60.0
    outage_s: float = 30.0


class LogRules(_Section, frozen=True):
    """How often the audit log is signed: after so many seconds if it grew, or after so many records."""

    checkpoint_s: float = 300.0
    checkpoint_records: int = 1000


class ApprovalRules(_Section, frozen=True):
    """How many operators an order of weight needs, one or two, and for how long one waits for the second.

    `revocations`: whether revoking an administrator at every node waits for the second, too.
    """

    persons: int = 1
    expires_s: float = DAY_S
    revocations: bool = False


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
    openings: OpeningRules = OpeningRules()
    replay: ReplayRules = ReplayRules()
    versions: VersionRules = VersionRules()
    mapping: MappingRules = MappingRules()
    scheduler: SchedulerRules = SchedulerRules()
    log: LogRules = LogRules()
    approvals: ApprovalRules = ApprovalRules()
    stale: StaleRules = StaleRules()

    def challenge_interval_s(self, *, lab_node: bool) -> tuple[float, float]:
        """Shortest and longest time to the next challenge; a lab policy leaves other nodes at an hour or more."""
        low, high = self.challenge.min_s, self.challenge.max_s
        return (low, high) if lab_node else (max(low, HOUR_S), max(high, HOUR_S))

    def enclave_cap(self, kind: str, *, owned: bool = True) -> int:
        """The score (thousandths) that a node with this kind of enclave can reach; 0 for a kind that is not allowed.

        `owned` tells whether the authority holds the owner's authorisation, where the kind has such.
        """
        if kind not in self.enclaves.allowed:
            return 0
        caps = {
            EnclaveKind.PKCS11.value: self.caps.pkcs11_enclave,
            EnclaveKind.SOFTWARE.value: self.caps.software_enclave,
        }
        if kind == EnclaveKind.TPM2.value and not owned:
            return self.caps.unowned_tpm
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


def default_policy() -> Policy:
    """The policy of a site that chose nothing."""
    return Policy(version="default-1")
