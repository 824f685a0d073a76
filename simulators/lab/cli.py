"""`keyvigil-lab`: simulated sites."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

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
@click.option(
    "--packets/--no-packets",
    default=True,
    show_default=True,
    help="Exchange packets between the nodes where this machine can carry them (as root), or only keep keys in files.",
)
def demo(**chosen: Any) -> None:
    """One authority, three nodes, and a story of trust earned, lost and regained."""
    from simulators.lab.demo import DemoOptions, run_demo

    if not run_demo(DemoOptions(**chosen)):
        sys.exit(1)


@cli.command()
@click.option(
    "--sink",
    type=click.Choice(["wireguard", "xfrm"]),
    default="wireguard",
    show_default=True,
    help="The data plane; where this kernel has no ESP, that of User-Mode Linux.",
)
@click.option("--nodes", type=click.IntRange(2, 50), default=3, show_default=True)
@click.option("--rotations", type=click.IntRange(0), default=10, show_default=True)
@click.option("--period", type=click.FloatRange(0.2), default=2.0, show_default=True, help="Seconds between rotations.")
@click.option("--demotions", type=click.IntRange(0), default=2, show_default=True, help="Nodes that fail, one by one.")
@click.option("--rate", type=click.FloatRange(1), default=50.0, show_default=True, help="Packets a second and pair.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Save packets and access as PNG here.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the site's folder, with all logs, here.")
@click.option("--json", "report", type=click.Path(path_type=Path, dir_okay=False), help="Write what was measured here.")
def network(report: Path | None, **chosen: Any) -> None:
    """Nodes that exchange packets: rotations that lose none, and failures that cut a node off."""
    from simulators.lab.network.run import NetworkOptions
    from simulators.lab.network.view import show_network

    show_network(
        NetworkOptions(**{("period_s" if key == "period" else key): value for key, value in chosen.items()}), report
    )


@cli.command()
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
def station(config: Path) -> None:
    """Serve the simulated devices of one node (the lab starts this)."""
    import msgspec

    from simulators.lab.station import StationConfig, run_station

    run_station(msgspec.json.decode(config.read_bytes(), type=StationConfig))


folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The bench's or the station's folder, where its control socket lies.",
)


@cli.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The bench's TOML.")
@folder_option
@click.option("--json", "as_json", is_flag=True, help="Print the devices as JSON.")
def bench(config: Path, folder: Path, as_json: bool) -> None:
    """Serve single simulated devices, with faults on demand, until Ctrl-C."""
    from simulators.lab.bench import load_bench, run_bench
    from simulators.lab.show import announce

    run_bench(load_bench(config), folder, lambda devices: announce(devices, as_json=as_json))


@cli.command()
@folder_option
@click.argument("device")
@click.argument("fault")
@click.option("--rate", type=float, default=1.0, show_default=True, help="Share of bytes or messages that is hit.")
@click.option("--after", type=int, default=0, show_default=True, help="Messages that still pass unharmed.")
@click.option("--seconds", type=float, default=0.0, help="Delay of `slow`; duration of a passing fault.")
@click.option("--seed", type=int, default=0, help="What the damage is drawn from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fault(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    folder: Path, device: str, fault: str, rate: float, after: int, seconds: float, seed: int, as_json: bool
) -> None:
    """Play FAULT on DEVICE of a running bench or station, until it is mended."""
    numbers = {"rate": rate, "after": after, "seconds": seconds, "seed": seed}
    _order(folder, {"op": "fault", "device": device, "fault": fault, **numbers}, as_json)


@cli.command()
@folder_option
@click.argument("device", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def mend(folder: Path, device: str | None, as_json: bool) -> None:
    """End every fault of DEVICE, or of all."""
    _order(folder, {"op": "mend", "device": device}, as_json)


@cli.command()
@folder_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def faults(folder: Path, as_json: bool) -> None:
    """The devices of a running bench or station, and the faults that each can play."""
    _order(folder, {"op": "faults"}, as_json)


@cli.command()
@folder_option
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def person(folder: Path, name: str, as_json: bool) -> None:
    """Let NAME stand at the devices of a running bench; `nobody` leaves."""
    _order(folder, {"op": "person", "person": None if name == "nobody" else name}, as_json)


def _order(folder: Path, command: dict[str, object], as_json: bool) -> None:
    from simulators.lab.show import order

    order(folder, command, as_json=as_json)


def main() -> None:
    """Entry point."""
    run_group(cli)
