"""Metrics of the authority for Prometheus: names in one module, each process with a registry of its own."""

from authority.metrics import names
from authority.metrics.meter import CONTENT_TYPE, Meter, Plane
from authority.metrics.snapshot import LAST_BACKUP, Snapshot, take_snapshot

__all__ = ["CONTENT_TYPE", "LAST_BACKUP", "Meter", "Plane", "Snapshot", "names", "take_snapshot"]
