"""The Key Orchestration Service: networks, versions, bundles, deliveries, and the keys that wrap stored secrets."""

from authority.keys.kek import FileKek, KekError, KekProvider
from authority.keys.networks import (
    add_member,
    create_network,
    look_up,
    remove_member,
    rotate_versions,
    set_floor,
    stage_version,
)
from authority.keys.orchestrator import reconcile, reissue, tick

__all__ = [
    "FileKek",
    "KekError",
    "KekProvider",
    "add_member",
    "create_network",
    "look_up",
    "reconcile",
    "reissue",
    "remove_member",
    "rotate_versions",
    "set_floor",
    "stage_version",
    "tick",
]
