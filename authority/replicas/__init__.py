"""Several processes of one authority on one PostgreSQL database: who does what, and who tells whom."""

from authority.replicas.duties import ALERTS, BEAT, Duties, SharedDuties, SoleDuties
from authority.replicas.following import Following
from authority.replicas.membership import Membership, check_shreds
from authority.replicas.relay import RelayedHub

__all__ = [
    "ALERTS",
    "BEAT",
    "Duties",
    "Following",
    "Membership",
    "RelayedHub",
    "SharedDuties",
    "SoleDuties",
    "check_shreds",
]
