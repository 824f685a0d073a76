"""Virtual networks: members, key versions (never keys), rotations, the mapping."""

from __future__ import annotations

from typing import Any, Literal

from authority.api._base import Answer
from protocol.levels import NodeState, ResourceClass, VersionState


class KeyVersion(Answer, frozen=True):
    """A key version of a network."""

    version: int
    state: VersionState
    kek_id: str
    created_at: float
    destroyed_at: float | None


class Member(Answer, frozen=True):
    """A node in a network, and the version and epoch that it sends under."""

    name: str
    address: str
    resource_class: ResourceClass
    version: int | None
    epoch: int
    rotate_at: float


class Network(Answer, frozen=True):
    """A virtual network."""

    name: str
    members: list[Member]
    keys: list[KeyVersion]


class StagedVersion(Answer, frozen=True):
    """A version that was made ahead."""

    network: str
    version: int


class WaitingPair(Answer, frozen=True):
    """An ordered pair whose rotation waits for one of its ends."""

    source: str
    destination: str
    phase: str
    waits_for: str


class Straggler(Answer, frozen=True):
    """A node whose pairs were given up, for it held their rotation up for too long."""

    node: str
    pairs: int
    since: float


class RotationProgress(Answer, frozen=True):
    """How the rotation of a network stands; `pairs` is how many there are in each phase."""

    network: str
    pairs: dict[str, int]
    waiting: list[WaitingPair]
    stragglers: list[Straggler]
    began_at: float | None
    next_due: float | None
    last_took_s: float | None


class Place(Answer, frozen=True):
    """Which node is at an address, and where it is reached; `endpoint_pinned` when an operator said so."""

    network: str
    address: str
    node: str
    node_id: str
    state: NodeState
    resource_class: ResourceClass
    endpoint: str
    endpoint_pinned: bool
    wireguard_port: int
    wireguard_public: str


class DocumentMember(Answer, frozen=True):
    """A member in the mapping document."""

    node: str
    address: str
    resource_class: ResourceClass


class DocumentNetwork(Answer, frozen=True):
    """A network in the mapping document."""

    name: str
    members: list[DocumentMember]


class MappingDocument(Answer, frozen=True):
    """The mapping as it can be imported; `endpoints` are those that operators set."""

    format: Literal["keyvigil-mapping/1"]
    networks: list[DocumentNetwork]
    endpoints: dict[str, str]


class MappingChange(Answer, frozen=True):
    """One difference that an import makes."""

    kind: str
    network: str
    node: str
    was: dict[str, Any]
    becomes: dict[str, Any]


class MappingChanges(Answer, frozen=True):
    """What an import changed, or would change."""

    dry_run: bool
    changes: list[MappingChange]
