"""What every installed driver sees, each asked within a deadline of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.devices import DeviceReport, look
from agent.diagnostics.findings import Finding, failed
from agent.diagnostics.running import Check, Note, Progress, run_checks
from hal import Deadline, DriverEntry, available_drivers

LIST_S = 15.0
_STALLED = "the driver did not answer"
_STALLED_REMEDY = "Replug its devices, or restart what serves them (sound server, fprintd, USB/IP server)."


def survey(
    options: Mapping[str, Mapping[str, Any]], progress: Progress, pins: Mapping[str, str] | None = None
) -> list[DeviceReport]:
    """A report for every driver, by name; a driver that stalls costs `LIST_S` and reports so.

    `options` and `pins` (SHA-256) are by driver name. A driver that is not the pinned one is not run.
    """
    entries = sorted(available_drivers().items())
    reports = {name: DeviceReport(name, entry.sha256, (), _STALLED, _STALLED_REMEDY) for name, entry in entries}

    def asking(name: str, entry: DriverEntry) -> Check:
        def ask(_deadline: Deadline, _note: Note) -> Iterator[Finding]:
            try:
                reports[name] = look(entry, options.get(name, {}), (pins or {}).get(name))
            except Exception as error:  # noqa: BLE001 - a driver's defect is its own report, and hides no other's
                defect = failed("device.driver", error)
                reports[name] = DeviceReport(name, entry.sha256, (), defect.what, defect.remedy)
            yield from ()

        return Check(f"driver {name}", name, LIST_S, ask)

    run_checks([asking(name, entry) for name, entry in entries], progress)
    return [reports[name] for name, _ in entries]
