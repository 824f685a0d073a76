"""Alerts: queued in the deciding transaction, sent to every destination in its own form."""

from authority.alerts.outbox import acknowledge, raise_alert
from authority.alerts.rfc5424 import Origin, Record, Severity, format_record
from authority.alerts.sinks import AlertSink, FileSink, MessageRefused, SinkError

__all__ = [
    "AlertSink",
    "FileSink",
    "MessageRefused",
    "Origin",
    "Record",
    "Severity",
    "SinkError",
    "acknowledge",
    "format_record",
    "raise_alert",
]
