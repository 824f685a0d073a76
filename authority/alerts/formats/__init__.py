"""How an alert is written for whoever reads it: RFC 5424, CEF, ECS or OCSF."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from authority.alerts.formats.cef import cef
from authority.alerts.formats.ecs import ecs
from authority.alerts.formats.ocsf import ocsf
from authority.alerts.rfc5424 import Origin, Record, format_record, wrap_record


class AlertFormat(StrEnum):
    """Name of a format in the configuration."""

    RFC5424 = "rfc5424"
    CEF = "cef"
    ECS = "ecs"
    OCSF = "ocsf"


_BODIES: dict[AlertFormat, Callable[[Record, Origin], str]] = {
    AlertFormat.CEF: cef,
    AlertFormat.ECS: ecs,
    AlertFormat.OCSF: ocsf,
}


def written(form: AlertFormat, record: Record, origin: Origin, *, syslog: bool) -> bytes:
    """One record without a line feed, UTF-8; on `syslog` the other formats are the message of an RFC 5424 record."""
    if form is AlertFormat.RFC5424:
        return format_record(record, origin)
    body = _BODIES[form](record, origin)
    return wrap_record(record, origin, body) if syslog else body.encode("utf-8", "replace")


__all__ = ["AlertFormat", "written"]
