"""Whether the authority is in order: what is not, why, and what to do; for people, probes and monitoring alike."""

from authority.health.clock import ClockWatch, KernelClock, kernel_clock
from authority.health.findings import Check, Finding, Report
from authority.health.monitor import HealthMonitor, Pulse, Subject, examine_stopped

__all__ = [
    "Check",
    "ClockWatch",
    "Finding",
    "HealthMonitor",
    "KernelClock",
    "Pulse",
    "Report",
    "Subject",
    "examine_stopped",
    "kernel_clock",
]
