"""`keyvigil evaluate`: error rates of the production pipeline on a folder of samples, and what they can support."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from agent import evaluation
from agent.biometrics import Modality
from agent.evaluation import plot as plotting
from agent.evaluation.table import rendered

_STANDARD_OUTPUT = Path("-")
_PICTURES = frozenset({".png", ".svg", ".pdf"})


@click.command()
@click.argument("modality", type=click.Choice([each.value for each in Modality]))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--json", "json_path", metavar="FILE", type=click.Path(path_type=Path), help="Write the report; - prints it."
)
@click.option("--plot", "plot_path", metavar="FILE.png", type=click.Path(path_type=Path), help="Draw DET and discards.")
@click.option(
    "--set", "pairs", metavar="KEY=VALUE", multiple=True, help="A setting; a wrong KEY names those that exist."
)
@click.option(
    "--impostors", metavar="DIR", type=click.Path(path_type=Path), help="Further subjects, as impostors only."
)
@click.option(
    "--fmr",
    "wanted",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    default=0.001,
    show_default=True,
    help="The FMR that a threshold is recommended for.",
)
@click.option(
    "--through-profile", "sealed", is_flag=True, help="Decide as a sealed profile does, presenters knowing its secrets."
)
def evaluate(  # noqa: PLR0913, PLR0917
    modality: str,
    directory: Path,
    json_path: Path | None,
    plot_path: Path | None,
    pairs: Sequence[str],
    impostors: Path | None,
    wanted: float,
    sealed: bool,
) -> None:
    """Measure error rates on the samples in DIR/<subject>/, at production settings.

    MODALITY is fingerprint, face or voice; a subject is one person, or one finger.
    """
    chosen = Modality(modality)
    settings = evaluation.Settings.of(chosen, pairs)
    request = evaluation.Request(chosen, directory, settings, impostors, wanted_fmr=wanted, through_profile=sealed)
    _check_targets(json_path, plot_path)
    errors = Console(stderr=True)
    with evaluation.Bars(errors) as bars:
        measured = evaluation.evaluate(request, bars)
    report = evaluation.plain(measured)
    if plot_path is not None:
        plotting.plot(measured, plot_path)
    _write(report, json_path)
    (errors if json_path == _STANDARD_OUTPUT else Console()).print(rendered(report))


def _check_targets(json_path: Path | None, plot_path: Path | None) -> None:
    """Raise before the work rather than after it."""
    if plot_path is not None:
        if plot_path.suffix.lower() not in _PICTURES:
            raise click.UsageError(f"--plot {plot_path} does not end in {', '.join(sorted(_PICTURES))}")
        plotting.require_matplotlib()
    for path in (json_path, plot_path):
        if path is not None and path != _STANDARD_OUTPUT and not _writable(path):
            raise evaluation.EvaluationError(
                f"{path} cannot be written", remedy="Name a file in a folder that you own."
            )


def _writable(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK) and not path.is_dir()


def _write(report: Mapping[str, Any], path: Path | None) -> None:
    if path is None:
        return
    text = json.dumps(report, indent=2)
    if path == _STANDARD_OUTPUT:
        click.echo(text)
    else:
        path.write_text(text + "\n", encoding="utf-8")
