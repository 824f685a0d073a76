"""Every metric of the authority: name, unit, help and labels. Dashboards and alert rules are written against these.

Names follow prometheus.io/docs/practices/naming: base units as a suffix, `_total` for what only grows. No label takes a
node's, a person's or a network's name: each is one of a small set of words, or of what the configuration names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


@dataclass(frozen=True)
class Metric:
    """One metric family; `buckets` are upper bounds in its unit."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CHALLENGES = Metric(
    "keyvigil_challenges_total",
    "counter",
    "Challenges that were closed, by outcome, since this process began.",
    ("outcome",),
)
DECISIONS = Metric(
    "keyvigil_decisions_total", "counter", "Records of the audit log by kind, since this process began.", ("kind",)
)
ATTESTATIONS = Metric(
    "keyvigil_attestations_total", "counter", "Machine attestations that this process judged, by outcome.", ("outcome",)
)
VERDICT = Metric(
    "keyvigil_verdict_duration_seconds", "histogram", "From evidence that came whole to its durable verdict.", (), _FAST
)
DELIVERIES = Metric(
    "keyvigil_key_deliveries_total", "counter", "Key deliveries made for all nodes since the database was made."
)
DELIVERIES_OPEN = Metric(
    "keyvigil_key_deliveries_waiting", "gauge", "Newest deliveries that their nodes have not installed yet."
)
INSTALLED = Metric(
    "keyvigil_key_install_duration_seconds",
    "histogram",
    "From a key delivery to its node's word that it is installed.",
    (),
    _SLOW,
)
INSTALL_FAILURES = Metric(
    "keyvigil_key_install_failures_total",
    "counter",
    "Deliveries that a node could not install, as told to this process.",
)
ROTATING = Metric("keyvigil_rotation_networks", "gauge", "Networks with a rotation that is under way.")
ROTATION_WAITED_FOR = Metric(
    "keyvigil_rotation_members_waited_for", "gauge", "Members that owe an answer to a delivery."
)
ROTATION_LONGEST = Metric(
    "keyvigil_rotation_longest_wait_seconds",
    "gauge",
    "For how long the slowest member has owed its answer; 0 for none.",
)
ROTATION_GIVEN_UP = Metric("keyvigil_rotation_pairs_given_up", "gauge", "Pairs that were evicted for a straggler.")
ROTATION_LAST = Metric(
    "keyvigil_rotation_last_duration_seconds", "gauge", "How long the slowest network's last rotation took that ended."
)
NODES = Metric("keyvigil_nodes", "gauge", "Nodes by state and tier.", ("state", "tier"))
CONNECTED = Metric("keyvigil_nodes_connected", "gauge", "Nodes with an open connection to this process.")
CHALLENGES_OPEN = Metric("keyvigil_challenges_open", "gauge", "Challenges that wait for an answer.", ("state",))
BRAKE = Metric("keyvigil_brake_engaged", "gauge", "1 while the brake holds.")
OUTBOX = Metric("keyvigil_alerts_waiting", "gauge", "Alerts that a destination has not got yet.", ("destination",))
OUTBOX_AGE = Metric(
    "keyvigil_alerts_oldest_wait_seconds",
    "gauge",
    "Age of the oldest alert that a destination has not got.",
    ("destination",),
)
ALERTS_SENT = Metric("keyvigil_alerts_sent_total", "counter", "Alerts that a destination took.", ("destination",))
ALERTS_FAILED = Metric(
    "keyvigil_alerts_failed_total", "counter", "Attempts to send an alert that failed.", ("destination",)
)
ALERTS_DROPPED = Metric(
    "keyvigil_alerts_dropped_total", "counter", "Alerts given up because too many waited.", ("destination",)
)
ALERTS_SET_ASIDE = Metric(
    "keyvigil_alerts_set_aside",
    "gauge",
    "Alerts set aside, which a destination refuses.",
    ("destination",),
)
ALERTS_OPEN = Metric("keyvigil_alerts_unacknowledged", "gauge", "Alerts that nobody has looked at yet.", ("severity",))
DATABASE = Metric(
    "keyvigil_database_transaction_duration_seconds",
    "histogram",
    "Transactions, from their begin to their durable end.",
    (),
    _FAST,
)
DATABASE_WAIT = Metric(
    "keyvigil_database_wait_duration_seconds",
    "histogram",
    "How long actions waited for the database's writer.",
    (),
    _FAST,
)
HANDSHAKES = Metric("keyvigil_tls_handshakes_total", "counter", "TLS handshakes that succeeded.", ("plane",))
SCHEDULER_LAG = Metric(
    "keyvigil_scheduler_lag_seconds", "histogram", "How much later than planned the scheduler swept.", (), _FAST
)
SWEEP = Metric(
    "keyvigil_scheduler_sweep_duration_seconds", "histogram", "Sweeps, with the deliveries they led to.", (), _FAST
)
CERTIFICATE_END = Metric(
    "keyvigil_certificate_expiry_timestamp_seconds",
    "gauge",
    "When a certificate of the authority ends.",
    ("certificate",),
)
GENERATION = Metric("keyvigil_generation", "gauge", "Generation of keys; grows with every restore.")
HEALTH = Metric("keyvigil_health", "gauge", "1 where a check is in order, 0 where it is not.", ("check",))
LAST_BACKUP = Metric("keyvigil_last_backup_timestamp_seconds", "gauge", "When the last backup was made; 0 for never.")
SERVED_BY = Metric("keyvigil_build_info", "gauge", "1, with the version that serves.", ("version",))

ALL: tuple[Metric, ...] = tuple(value for value in [*globals().values()] if isinstance(value, Metric))
