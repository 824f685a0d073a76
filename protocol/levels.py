"""Names that both sides share for what a node may do."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """What the score is worth: strictly above 0.8, strictly above 0.5, or below."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class VersionState(StrEnum):
    """Life of a network's key version."""

    STAGED = "staged"
    LATEST = "latest"
    PREVIOUS = "previous"
    OUTDATED = "outdated"
    DESTROYED = "destroyed"


class Rotation(StrEnum):
    """How often a node's key epoch advances."""

    STANDARD = "standard"
    INCREASED = "increased"
    VERY_FAST = "very-fast"


class Access(StrEnum):
    """What a node may reach."""

    FULL = "full"
    LIMITED = "limited"
    RESTRICTED = "restricted"
    ISOLATED = "isolated"


class ResourceClass(StrEnum):
    """What a member of a network offers to the others."""

    CRITICAL = "critical"
    NORMAL = "normal"
    REMEDIATION = "remediation"


class NodeState(StrEnum):
    """Life of a node at the authority."""

    PENDING = "pending"
    ACTIVE = "active"
    OVERDUE = "overdue"
    DEMOTED = "demoted"
    ISOLATED = "isolated"
    BANNED = "banned"
    RETIRED = "retired"


class EnclaveKind(StrEnum):
    """What holds a node's keys and speaks for its machine; policy says which kinds may join, and caps each."""

    TPM2 = "tpm2"
    PKCS11 = "pkcs11"
    SOFTWARE = "software"


class Ownership(StrEnum):
    """Whose a node's TPM is.

    `TAKEN` when its owner's authorisation lies at the authority, `DRAWN` while the node is to set it, `FOREIGN` when
    somebody else set one, `LOST` when it was taken and has no owner any more, `NONE` before anything is known.
    """

    NONE = "none"
    DRAWN = "drawn"
    TAKEN = "taken"
    FOREIGN = "foreign"
    LOST = "lost"
