"""`keyvigil devices`: drivers with the hashes to pin, and what each of them sees."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.commands._common import configured, json_option, print_json
from agent.devices import DeviceReport, configured_options, survey
from agent.log import printable
from agent.modalities import available_modalities


@click.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Use the device options of this file.")
@json_option
def devices(config_path: Path | None, as_json: bool) -> None:
    """List drivers, their SHA-256 for the configuration, and the devices attached."""
    options = configured_options(configured(config_path)) if config_path else {}
    reports = survey(options)
    if as_json:
        modalities = [{"modality": each.name, "sha256": each.sha256} for each in available_modalities().values()]
        print_json({"drivers": [_plain(report) for report in reports], "modalities": modalities})
    else:
        _show(reports)


def _plain(report: DeviceReport) -> dict[str, Any]:
    line: dict[str, Any] = {"driver": report.driver, "sha256": report.sha256, "error": report.error}
    line["remedy"] = report.remedy
    line["attached"] = [asdict(info) | {"capabilities": sorted(info.capabilities)} for info in report.attached]
    return line


def _show(reports: list[DeviceReport]) -> None:
    console = Console()
    for each in available_modalities().values():
        console.print(f"modality [bold]{each.name}[/]  sha256 = {each.sha256}", soft_wrap=True, highlight=False)
    for report in reports:
        console.print(f"[bold]{report.driver}[/]  sha256 = {report.sha256}", soft_wrap=True, highlight=False)
        if report.error:
            console.print(f"  not usable: {printable(report.error)}", markup=False, highlight=False)
            console.print(f"  {printable(report.remedy)}", markup=False, highlight=False)
        elif not report.attached:
            console.print("  nothing attached")
        else:
            console.print(_table(report))


def _table(report: DeviceReport) -> Table:
    table = Table("name", "transport", "port", "vendor:product", "serial", box=None, padding=(0, 2))
    for info in report.attached:
        identity = f"{info.vendor_id}:{info.product_id}" if info.vendor_id or info.product_id else ""
        cells = (info.name, info.transport.value, info.port, identity, info.serial)
        table.add_row(*(escape(printable(cell)) for cell in cells))
    return table
