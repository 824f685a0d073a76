"""Elastic Common Schema 8.11: one JSON object a record."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from authority.alerts.formats._product import PRODUCT, VENDOR, product_version, rest_of, text_of
from authority.alerts.rfc5424 import Origin, Record, Severity, neutralise

ECS_VERSION = "8.11.0"
_LEVEL = {Severity.CRITICAL: 99, Severity.ERROR: 73, Severity.WARNING: 47, Severity.NOTICE: 21, Severity.INFO: 1}
"""Elastic's own bands of risk: critical from 75, high from 50, medium from 25."""
_CATEGORIES = {
    "evidence-refused": (["authentication", "intrusion_detection"], ["info", "denied"]),
    "attestation-failed": (["authentication", "host"], ["info", "denied"]),
    "re-registration-refused": (["iam", "intrusion_detection"], ["denied"]),
    "ticket-dead": (["iam"], ["denied"]),
    "node-hostile": (["intrusion_detection"], ["denied"]),
    "node-isolated": (["host", "network"], ["denied", "change"]),
    "node-banned": (["host", "iam"], ["denied", "change"]),
    "node-retired": (["host", "iam"], ["deletion"]),
    "node-stale-retired": (["host", "iam"], ["deletion"]),
    "administrator-revoked": (["iam"], ["user", "deletion"]),
    "authority-fault": (["process"], ["error"]),
    "delivery-impossible": (["configuration"], ["error"]),
    "delivery-failed": (["configuration"], ["error"]),
}
_OTHERWISE = (["host"], ["change"])


def ecs(record: Record, origin: Origin) -> str:
    """The record as JSON on one line; what no field of the schema fits lies under `keyvigil`."""
    category, kind = _CATEGORIES.get(record.kind, _OTHERWISE)
    event = {
        "@timestamp": datetime.fromtimestamp(record.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ecs": {"version": ECS_VERSION},
        "message": neutralise(record.text),
        "event": {
            "kind": "alert",
            "category": category,
            "type": kind,
            "action": record.kind,
            "id": text_of(record.data, "id"),
            "severity": _LEVEL[record.severity],
            "module": "keyvigil",
            "dataset": "keyvigil.alert",
        },
        "log": {"level": record.severity.value},
        "observer": {
            "hostname": neutralise(origin.hostname),
            "vendor": VENDOR,
            "product": PRODUCT,
            "type": "trust-authority",
            "version": product_version(),
        },
        "keyvigil": rest_of(record.data),
    }
    node = text_of(record.data, "nodeId")
    if node:
        event["host"] = {"id": node, "name": text_of(record.data, "node")}
    return json.dumps(event, ensure_ascii=False, sort_keys=True)
