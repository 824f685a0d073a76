"""`keyvigil-lab`: simulated sites."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from authority.cli.output import run_group


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Simulated sites: the demo, and the stations of which they are made."""


@cli.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Build the people from real samples, MODALITY/SET/SUBJECT/SAMPLE.",
)
@click.option("--serve", is_flag=True, help="Keep the site running after the story.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the site's folder, with all logs, here.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Save the live view as SVG here.")
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
def demo(data: Path | None, serve: bool, keep: Path | None, picture: Path | None, as_json: bool) -> None:
    """One authority, three nodes, and a story of trust earned, lost and regained."""
    from simulators.lab.demo import DemoOptions, run_demo

    if not run_demo(DemoOptions(data=data, serve=serve, as_json=as_json, keep=keep, picture=picture)):
        sys.exit(1)


@cli.command()
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
def station(config: Path) -> None:
    """Serve the simulated devices of one node (the lab starts this)."""
    import msgspec

    from simulators.lab.station import StationConfig, run_station

    run_station(msgspec.json.decode(config.read_bytes(), type=StationConfig))


def main() -> None:
    """Entry point."""
    run_group(cli)
