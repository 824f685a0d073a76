"""Common Event Format, version 0 (ArcSight, "Implementing ArcSight Common Event Format", version 25)."""

from __future__ import annotations

import json
import re

from authority.alerts.formats._product import PRODUCT, VENDOR, product_version, rest_of, text_of
from authority.alerts.rfc5424 import Origin, Record, Severity, neutralise

_SEVERITY = {Severity.CRITICAL: 10, Severity.ERROR: 8, Severity.WARNING: 6, Severity.NOTICE: 3, Severity.INFO: 1}


def cef(record: Record, origin: Origin) -> str:
    """One line: header fields with `\\` and `|` escaped, extension values with `\\`, `=` and line feeds escaped."""
    header = ("CEF:0", VENDOR, PRODUCT, product_version(), record.kind, _name(record.kind), _SEVERITY[record.severity])
    extension = {
        "rt": round(record.at * 1000),
        "externalId": text_of(record.data, "id"),
        "cat": record.kind,
        "dvchost": origin.hostname,
        "dhost": text_of(record.data, "node"),
        "cs1": text_of(record.data, "nodeId"),
        "cs1Label": "nodeId",
        "cs2": json.dumps(rest_of(record.data), sort_keys=True, ensure_ascii=False),
        "cs2Label": "details",
        "msg": neutralise(record.text),
    }
    fields = " ".join(f"{key}={_value(str(value))}" for key, value in extension.items() if value != "")
    return "|".join(_header(str(part)) for part in header) + "|" + fields


def _name(kind: str) -> str:
    return kind.replace("-", " ").capitalize()


def _header(text: str) -> str:
    return re.sub(r"([\\|])", r"\\\1", neutralise(text))


def _value(text: str) -> str:
    return re.sub(r"([\\=])", r"\\\1", neutralise(text))
