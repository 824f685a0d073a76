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
from authority.keys.orchestrator import acknowledged, reconcile, reissue, replace_lost, tick

__all__ = [
    "FileKek",
    "KekError",
    "KekProvider",
    "acknowledged",
    "add_member",
    "create_network",
    "look_up",
    "reconcile",
    "reissue",
    "remove_member",
    "replace_lost",
    "rotate_versions",
    "set_floor",
    "stage_version",
    "tick",
]
