"""Nodes and the people at them: standing, profiles, alerts, signals, groups, the brake."""

from __future__ import annotations

from typing import Any

import msgspec

from authority.api._base import Answer, Milli
from authority.trust.staleness import Step
from protocol.levels import Access, NodeState, Ownership, ResourceClass, Rotation, Tier, VersionState


class Membership(Answer, frozen=True):
    """A node's place in a virtual network, and the key version that it holds there."""

    network: str
    address: str
    resource_class: ResourceClass
    version: int | None
    version_state: VersionState | None
    epoch: int
    rotate_at: float


class Challenge(Answer, frozen=True):
    """The newest challenge of a node."""

    id: str
    state: str
    reason: str
    summoned_at: float
    expires_at: float
    answered_at: float | None


class Standing(Answer, frozen=True):
    """What the authority thinks of a node, and what that is worth."""

    id: str
    name: str
    state: NodeState
    reason: str
    lab: bool
    enclave: str
    enclave_cap: Milli
    ownership: Ownership
    score: Milli
    explanation: str
    tier: Tier
    rotation: Rotation
    rotation_s: float
    access: Access
    next_challenge_at: float | None
    last_seen_at: float | None
    last_attested_at: float | None
    certificate_not_after: float
    networks: list[Membership]
    challenge: Challenge | None
    answered: int


class Node(Standing, frozen=True):
    """A node in a list; `profiles` is how many there are, `answered` how many presentations."""

    profiles: int


class Modality(Answer, frozen=True):
    """A modality of a profile, and the model that made its features."""

    modality: str
    model: str
    parameters: str
    traits: list[str] | msgspec.UnsetType = msgspec.UNSET


class Profile(Answer, frozen=True):
    """An administrator's profile at a node; nothing biometric is in it."""

    record_id: str
    admin: str
    node: str
    state: str
    created_at: float
    approved_at: float | None
    approved_by: str | None
    failures_in_row: int
    modalities: list[Modality]


class RosterNode(Answer, frozen=True):
    """A node for an auditor; `administrators` are those who may answer there."""

    name: str
    id: str
    state: NodeState
    reason: str
    lab: bool
    enclave: str
    ownership: Ownership
    tier: Tier
    score: Milli
    joined_at: float
    last_seen_at: float | None
    last_attested_at: float | None
    certificate_not_after: float
    networks: list[str]
    administrators: list[str]


class RosterProfile(Answer, frozen=True):
    """A profile of an administrator; `gone_at` is when its node said that nothing of the record is left there."""

    node: str
    record_id: str
    state: str
    created_at: float
    approved_at: float | None
    approved_by: str | None
    gone_at: float | None
    modalities: list[str]


class RosterAdministrator(Answer, frozen=True):
    """An administrator, and where they are known."""

    name: str
    state: str
    created_at: float
    revoked_at: float | None
    profiles: list[RosterProfile]


class StaleNode(Answer, frozen=True):
    """A node that nobody sees any more, what the next sweep does to it, and when it may be retired, if it may."""

    node: str
    state: NodeState
    last_seen_at: float | None
    silent_s: float
    alerted_at: float | None
    step: Step
    retire_at: float | None


class Presentation(Answer, frozen=True):
    """How somebody answered."""

    at: float
    kind: str
    speed: Milli | None
    quality: int | None


class Device(Answer, frozen=True):
    """A sensor or enclave, as it was pinned when the node joined."""

    kind: str
    driver: str
    driver_sha256: str
    transport: str
    port: str
    vendor_id: str = ""
    product_id: str = ""
    serial: str = ""
    strength: str | msgspec.UnsetType = msgspec.UNSET


class NodeDetail(Standing, frozen=True):
    """A node with the devices that it joined with, its profiles and last presentations, newest first."""

    devices: list[Device]
    profiles: list[Profile]
    presentations: list[Presentation]


class Alert(Answer, frozen=True):
    """An alert; one that repeated counts its repeats instead of being told again."""

    id: int
    at: float
    severity: str
    kind: str
    text: str
    node: str | None
    data: dict[str, Any]
    delivered_at: float | None
    repeats: int
    last_at: float | None
    acknowledged_at: float | None
    acknowledged_by: str
    acknowledgement: str


class AlertDestination(Answer, frozen=True):
    """Where alerts go, and what became of them there."""

    name: str
    format: str
    severity: str
    durable: bool
    waiting: int
    sent: int
    failed: int
    dropped: int
    last_sent_at: float | None
    last_error: str | None
    last_error_at: float | None
    stuck: bool
    set_aside: int


class RefusedAlert(Answer, frozen=True):
    """An alert that a destination refuses for what it is, since when and how often.

    It is tried until it is set aside.
    """

    id: int
    destination: str
    alert_id: int
    kind: str
    severity: str
    text: str
    raised_at: float
    since: float
    tries: int
    last_at: float
    cause: str
    set_aside_at: float | None


class DestinationTest(Answer, frozen=True):
    """Whether a destination took a test record."""

    ok: bool
    error: str
    seconds: float


class Signal(Answer, frozen=True):
    """What was noticed of a node on the network."""

    id: int
    node: str
    origin: str
    reporter: str
    source: str
    ref: str
    kind: str
    severity: str
    confidence: Milli
    observed_at: float
    received_at: float
    expires_at: float | None


class Group(Answer, frozen=True):
    """Nodes that share the presentations at a sensor node."""

    name: str
    sensor_node: str
    members: list[str]


class Vote(Answer, frozen=True):
    """An operator's vote on the brake."""

    operator: str
    decision: str
    at: float


class Fall(Answer, frozen=True):
    """A node that was demoted or isolated."""

    node: str
    at: float


class Brake(Answer, frozen=True):
    """Whether the brake holds, who voted, and which nodes fell last."""

    engaged: bool
    since: float | None
    cause: str
    votes: list[Vote]
    falls: list[Fall]


class NotInOrder(Answer, frozen=True):
    """What a check found, what to do about it, and whether requests cannot be answered for it."""

    check: str
    reason: str
    remedy: str
    hinders: bool


class Connected(Answer, frozen=True):
    """Whether requests can be answered (`ok`), how many nodes are connected, and all that is not in order."""

    ok: bool
    connected: int
    healthy: bool
    ready: bool
    at: float
    findings: list[NotInOrder]
