"""What is there: drivers with their hashes and devices, devices without a driver, and what is not installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

from agent.config import Config
from agent.devices import DeviceReport
from agent.diagnostics.attached import Unclaimed
from agent.diagnostics.findings import Finding, Severity, not_made
from agent.diagnostics.needs import Missing
from agent.diagnostics.rendering import trouble_lines
from agent.diagnostics.targets import WITHOUT_INFRARED, configured_targets
from agent.diagnostics.watching import Change
from agent.log import printable
from hal import Capability, DeviceInfo


@dataclass(frozen=True)
class Inventory:
    """Everything that `keyvigil devices` tells; `findings` are the troubles among it."""

    reports: Sequence[DeviceReport]
    unclaimed: Sequence[Unclaimed]
    missing: Sequence[Missing]
    findings: Sequence[Finding]
    modalities: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 to pin, by modality."""

    @classmethod
    def of(
        cls,
        config: Config | None,
        reports: Sequence[DeviceReport],
        unclaimed: Sequence[Unclaimed],
        missing: Sequence[Missing],
        modalities: Mapping[str, str] | None = None,
    ) -> Inventory:
        """The inventory, with what is wrong of it: configured devices that are not there, attached ones unused."""
        wanted = [] if config is None else list(_wanted(config, reports))
        return cls(reports, unclaimed, missing, [*wanted, *_unused(unclaimed)], modalities or {})

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "drivers": [_plain(report) for report in self.reports],
            "modalities": [{"modality": name, "sha256": sha256} for name, sha256 in self.modalities.items()],
            "unclaimed": [{name: _safe(value) for name, value in asdict(found).items()} for found in self.unclaimed],
            "missing": [asdict(lack) for lack in self.missing],
            "findings": [finding.plain() for finding in self.findings],
        }


def _wanted(config: Config, reports: Sequence[DeviceReport]) -> Iterator[Finding]:
    by_driver = {report.driver: report for report in reports}
    for target in configured_targets(config):
        report = by_driver.get(target.driver)
        if report is None:
            remedy = "Install the package that offers this driver, or name another one."
            what = f"no driver named {target.driver!r} is installed"
            yield Finding("device.driver", Severity.ERROR, what, remedy, target.name)
        elif target.sha256 is not None and report.sha256 != target.sha256.lower():
            remedy = f'If the change of the driver is meant, write sha256 = "{report.sha256}" into the configuration.'
            what = f"the driver {target.driver} is not the one that the configuration pins"
            yield Finding("device.pin", Severity.ERROR, what, remedy, target.name)
        elif report.error:
            yield Finding("device.driver", Severity.ERROR, report.error, report.remedy, target.name)
        elif report.unmade:
            yield not_made(target.name)
        elif not report.attached:
            remedy = "Plug it in, or correct its options in the configuration."
            what = f"the driver {target.driver} does not see the configured device"
            yield Finding("device.attached", Severity.ERROR, what, remedy, target.name)
        elif target.strobe is not None and not any(map(_sees_infrared, report.attached)):
            what = f"none of the cameras that the driver {target.driver} sees is one of infrared"
            yield Finding("device.attached", Severity.ERROR, what, WITHOUT_INFRARED, target.name)


def _sees_infrared(info: DeviceInfo) -> bool:
    return Capability.INFRARED in info.capabilities


def _unused(unclaimed: Sequence[Unclaimed]) -> Iterator[Finding]:
    for found in unclaimed:
        if found.trouble:
            what = f"{found.what}: {found.name}" if found.name else found.what
            yield Finding("device.unclaimed", Severity.WARNING, what, found.remedy, f"{found.bus} {found.place}")


def show(inventory: Inventory, console: Console) -> None:
    """The inventory on a terminal; texts that a device chose neither colour it nor control the terminal."""
    for name, sha256 in inventory.modalities.items():
        console.print(f"modality [bold]{name}[/]  sha256 = {sha256}", soft_wrap=True, highlight=False)
    for report in inventory.reports:
        console.print(f"[bold]{report.driver}[/]  sha256 = {report.sha256}", soft_wrap=True, highlight=False)
        if report.error:
            console.print(f"  not usable: {printable(report.error)}", markup=False, highlight=False)
            console.print(f"  {printable(report.remedy)}", markup=False, highlight=False)
        elif not report.attached:
            console.print("  nothing attached")
        else:
            for info in report.attached:
                console.print(_described(info), soft_wrap=True)
    _show_rest(inventory, console)


def _show_rest(inventory: Inventory, console: Console) -> None:
    spare = [found for found in inventory.unclaimed if not found.trouble]
    if spare:
        console.print(Text("\nAttached, and not used", style="bold"))
        for found in spare:
            console.print(Text(printable(f"  {found.place}  {found.what} {found.name}".rstrip())), soft_wrap=True)
            if found.remedy:
                console.print(Text(f"    → {found.remedy}", style="italic dim"), soft_wrap=True)
    if inventory.missing:
        console.print(Text("\nNot installed", style="bold"))
        for lack in inventory.missing:
            console.print(Text(f"  {lack.name}: {lack.purpose}"))
            console.print(Text(f"    → {lack.remedy}", style="italic dim"), soft_wrap=True)
    if inventory.findings:
        console.print(Text("\nTo mend", style="bold"))
        for finding in inventory.findings:
            console.print(trouble_lines(finding))


def change_line(change: Change) -> Text:
    """One arrival or departure on one line; an error has its remedy on a second."""
    sign, style = ("+", "green") if change.arrived else ("-", "yellow")
    if change.error:
        sign, style = "!", "red"
    line = Text(printable(f"{sign} {change.driver or change.bus}  {change.text}"), style=style)
    return line.append(printable(f"\n  → {change.remedy}"), style="dim italic") if change.remedy else line


def _plain(report: DeviceReport) -> dict[str, Any]:
    line: dict[str, Any] = {"driver": report.driver, "sha256": report.sha256, "error": report.error}
    line["remedy"] = report.remedy
    line["attached"] = [asdict(info) | {"capabilities": sorted(info.capabilities)} for info in report.attached]
    return line


def _described(info: DeviceInfo) -> Text:
    identity = f"{info.vendor_id}:{info.product_id}" if info.vendor_id or info.product_id else ""
    serial = f"serial {info.serial}" if info.serial else ""
    where = "  ".join(part for part in (info.transport.value, info.port, identity, serial) if part)
    abilities = ", ".join(sorted(info.capabilities))
    lines = [info.name or info.kind, f"  {where}", *([f"  can: {abilities}"] if abilities else [])]
    return Text("\n".join(f"  {printable(line)}" for line in lines))


def _safe(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
