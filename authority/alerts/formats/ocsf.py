"""Open Cybersecurity Schema Framework 1.3.0: authentication, entity management and detection findings."""

from __future__ import annotations

import json
from typing import Any

from authority.alerts.formats._product import PRODUCT, VENDOR, product_version, rest_of, text_of
from authority.alerts.rfc5424 import Origin, Record, Severity, neutralise

OCSF_VERSION = "1.3.0"
AUTHENTICATION, ENTITY_MANAGEMENT, DETECTION_FINDING = 3002, 3004, 2004
_CATEGORY = {AUTHENTICATION: 3, ENTITY_MANAGEMENT: 3, DETECTION_FINDING: 2}
_SEVERITY = {Severity.CRITICAL: 5, Severity.ERROR: 4, Severity.WARNING: 3, Severity.NOTICE: 2, Severity.INFO: 1}
_LOGON, _UPDATE, _DELETE, _CREATE = 1, 3, 4, 1
_FAILURE = 2

_FAILED_LOGONS = {"evidence-refused", "attestation-failed", "ticket-dead"}
_MANAGED = {
    "node-retired": _DELETE,
    "node-stale-retired": _DELETE,
    "administrator-revoked": _UPDATE,
    "node-active": _UPDATE,
    "node-released": _UPDATE,
    "tier-raised": _UPDATE,
    "reference-candidate": _UPDATE,
    "delivery-failed": _UPDATE,
    "delivery-impossible": _UPDATE,
    "log-checkpoint": _UPDATE,
    "brake-engaged": _UPDATE,
    "brake-released": _UPDATE,
}


def ocsf(record: Record, origin: Origin) -> str:
    """The record as JSON on one line; an alert that is neither a failed logon nor an entity's change is a finding."""
    if record.kind in _FAILED_LOGONS:
        number, activity, own = AUTHENTICATION, _LOGON, _authentication(record)
    elif record.kind in _MANAGED:
        number, activity, own = ENTITY_MANAGEMENT, _MANAGED[record.kind], {"entity": _entity(record, origin)}
    else:
        number, activity, own = DETECTION_FINDING, _CREATE, {"finding_info": _finding(record)}
    event = {
        "class_uid": number,
        "category_uid": _CATEGORY[number],
        "activity_id": activity,
        "type_uid": 100 * number + activity,
        "severity_id": _SEVERITY[record.severity],
        "time": round(record.at * 1000),
        "message": neutralise(record.text),
        "metadata": _metadata(record, origin),
        "unmapped": {**rest_of(record.data), "node": text_of(record.data, "node")},
        **own,
    }
    return json.dumps(event, ensure_ascii=False, sort_keys=True)


def _metadata(record: Record, origin: Origin) -> dict[str, Any]:
    return {
        "version": OCSF_VERSION,
        "uid": text_of(record.data, "id"),
        "event_code": record.kind,
        "log_provider": neutralise(origin.hostname),
        "product": {"name": PRODUCT, "vendor_name": VENDOR, "version": product_version()},
    }


def _authentication(record: Record) -> dict[str, Any]:
    name = text_of(record.data, "admin") or text_of(record.data, "node") or "unknown"
    return {
        "user": {"name": name},
        "service": {"name": PRODUCT},
        "dst_endpoint": {"hostname": text_of(record.data, "node") or "unknown"},
        "status_id": _FAILURE,
        "status": "Failure",
        "status_detail": record.kind,
    }


def _entity(record: Record, origin: Origin) -> dict[str, Any]:
    node = text_of(record.data, "nodeId")
    if node:
        return {"name": text_of(record.data, "node"), "uid": node, "type": "node"}
    return {"name": neutralise(origin.hostname), "type": "authority"}


def _finding(record: Record) -> dict[str, Any]:
    return {
        "uid": f"keyvigil-{text_of(record.data, 'id')}",
        "title": record.kind.replace("-", " ").capitalize(),
        "desc": neutralise(record.text),
        "created_time": round(record.at * 1000),
        "types": [record.kind],
    }
