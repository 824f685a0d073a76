"""The demo's policy: the product's rules with periods of seconds, which only a lab policy may have."""

DEMO_POLICY = """\
version = "demo-1"
lab = true                  # periods of seconds are for lab nodes only

[challenge]
min_s = 15                  # a production policy: 1 h to 24 h
max_s = 40
grace_s = 12
activation_s = 28
gestures = 2                # a production policy: 3 to 6

[speed]                     # seconds a practised person takes; slower costs score, down to none at the deadline
fingerprint_s = 2
face_s = 5
voice_s = 3
min_elapsed_s = 0.3

[recency]
half_life_presentations = 1.5
half_life_s = 600
prior_weight = 0.5

[caps]
stale_medium_s = 120
stale_low_s = 240

[attestation]               # machine attestation, without a person
interval_s = 10
answer_s = 8
overdue_after_s = 40

[rotation]                  # a production policy: 24 h, 1 h, 5 min
standard_s = 30
increased_s = 10
very_fast_s = 3
drain_s = 0.5

[isolation]
failures = 3                # failed presentations in a row
recover_after = 2           # accepted ones in a row

[lockout]
failures = 5
duration_s = 5
releases_per_day = 100000

[delivery]
lease_s = 60

[scheduler]
refresh_s = 1
outage_s = 10
"""

OF_RECORDINGS = """
[enrolment.require]         # by default also spoken digits of voice, which recordings of people cannot answer with
face = ["gestures"]
"""


ROTATION = """\
standard_s = 30
increased_s = 10
very_fast_s = 3
"""

OVER_WIREGUARD = """\
standard_s = 720            # WireGuard takes 180 s to change a key
increased_s = 360
very_fast_s = 180
"""


def demo_policy(*, recordings: bool, wireguard: bool = False) -> str:
    """The demo's policy as TOML.

    People who are made of `recordings` need not speak the digits that are asked for; over WireGuard nothing rotates
    faster than it can.
    """
    policy = DEMO_POLICY + OF_RECORDINGS if recordings else DEMO_POLICY
    return policy.replace(ROTATION, OVER_WIREGUARD) if wireguard else policy
