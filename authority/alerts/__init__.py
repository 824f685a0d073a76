"""Alerts: queued in the deciding transaction, sent as RFC 5424 records to a file and a syslog receiver."""

from authority.alerts.outbox import raise_alert
from authority.alerts.pump import AlertPump
from authority.alerts.rfc5424 import Origin, Record, Severity, format_record
from authority.alerts.sinks import AlertSink, FileSink, SinkError, parse_sink

__all__ = [
    "AlertPump",
    "AlertSink",
    "FileSink",
    "Origin",
    "Record",
    "Severity",
    "SinkError",
    "format_record",
    "parse_sink",
    "raise_alert",
]
