"""Tables of the authority. Times are POSIX seconds, scores thousandths, structured values JSON text.

Nothing biometric is stored: no sample, no feature, no template, no helper data. A replay tag is an HMAC under a key
that only the node has.
"""

from __future__ import annotations

from authority.store import schema_console
from authority.store.schema_base import metadata
from authority.store.schema_drivers import driver_follower as _driver_follower
from authority.store.schema_indices import index_what_grows
from authority.store.schema_keys import delivery, evicted_pair, key_version, member, member_epoch, network
from authority.store.schema_nodes import join_attempt, join_token, meta, node, nonce, reference_value, tpm_owner
from authority.store.schema_oidc import oidc_person as _oidc_person
from authority.store.schema_people import administrator, operator_token, profile, replay_tag, ticket
from authority.store.schema_record import alert, alert_destination, audit, log_checkpoint, log_node
from authority.store.schema_replicas import replica_tables
from authority.store.schema_results import result_tables
from authority.store.schema_trust import (
    brake,
    brake_fall,
    brake_vote,
    challenge,
    challenge_group,
    group_member,
    policy_version,
    presentation,
    schedule,
    signal,
)

__all__ = [
    "administrator",
    "alert",
    "alert_destination",
    "attestation_result",
    "audit",
    "brake",
    "brake_fall",
    "brake_vote",
    "challenge",
    "challenge_group",
    "console_session",
    "delivery",
    "driver_follower",
    "evicted_pair",
    "group_member",
    "join_attempt",
    "join_token",
    "key_version",
    "lease",
    "log_checkpoint",
    "log_node",
    "member",
    "member_epoch",
    "meta",
    "metadata",
    "network",
    "node",
    "nonce",
    "oidc_person",
    "operator_token",
    "person_session",
    "policy_version",
    "presentation",
    "profile",
    "push",
    "reference_value",
    "replay_tag",
    "replica",
    "result_subscriber",
    "schedule",
    "signal",
    "ticket",
    "tpm_owner",
]

console_session = schema_console.console_session(metadata)
oidc_person = _oidc_person(metadata)
person_session = schema_console.person_session(metadata)
driver_follower = _driver_follower(metadata)
attestation_result, result_subscriber = result_tables(metadata)
replica, lease, push = replica_tables(metadata)
"""`push.event` is empty where a node has connected to the replica `origin`, and older connections of it are to end."""
index_what_grows(metadata)
