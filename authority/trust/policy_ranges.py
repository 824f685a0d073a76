"""What each key of the policy may be, and which keys bound one another."""

from __future__ import annotations

from authority.trust import behaviour_rules
from authority.trust.policy import DAY_S, HOUR_S
from protocol.gestures import FEWEST_STEPS, MOST_STEPS

RANGES: dict[str, tuple[float, float, float]] = {
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
    "caps.unowned_tpm": (0, 900, 0),
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
    "rotation.very_fast_s": (30, DAY_S, 1),
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
    "versions.outdated_kept": (1, 10_000, 1),
    "versions.outdated_s": (300, 3650 * DAY_S, 1),
    "openings.window_s": (0, 30 * DAY_S, 0),
    "replay.window_s": (0, 366 * DAY_S, 0),
    "scheduler.refresh_s": (1, HOUR_S, 0.1),
    "scheduler.outage_s": (5, HOUR_S, 1),
    **behaviour_rules.RANGES,
    "log.checkpoint_s": (10, DAY_S, 1),
    "log.checkpoint_records": (1, 1_000_000, 1),
}
"""Lowest and highest value of each key, and the lowest under a lab policy."""

ORDERED = (
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
