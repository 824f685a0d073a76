"""The course of a lab's network as a picture: packets that came from each node, under its access and key version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulators.lab.network.course import Course

_ACCESS = {"full": "#2e7d32", "limited": "#f9a825", "restricted": "#ef6c00", "isolated": "#c62828"}
_HEIGHT = 1.6


def save_picture(course: Course, file: Path, title: str) -> None:
    """Write a PNG with a panel per node; raises `OSError`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted(course.moments[-1].nodes) if course.moments else []
    figure, panels = pyplot.subplots(
        max(1, len(names)), 1, sharex=True, squeeze=False, figsize=(11, 1.2 + _HEIGHT * max(1, len(names)))
    )
    for name, panel in zip(names, panels[:, 0], strict=False):
        _draw(panel, course, name)
    panels[-1, 0].set_xlabel("seconds")
    figure.suptitle(f"{title}: packets a second that came from each node; colour: access", fontsize=10)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def _draw(panel: Any, course: Course, name: str) -> None:
    at = [one.at for one in course.moments]
    pairs = list(zip(course.moments, course.moments[1:], strict=False))
    rates = [(b.came.get(name, 0) - a.came.get(name, 0)) / (b.at - a.at) for a, b in pairs]
    panel.step(at[1:], rates, where="pre", color="#1a237e", linewidth=1.0)
    for former, after in pairs:
        access = after.nodes[name]["access"]
        panel.axvspan(former.at, after.at, color=_ACCESS.get(access, "#9e9e9e"), alpha=0.25, linewidth=0)
    epochs = [one.nodes[name].get("epoch") for one in course.moments]
    for (before, epoch), (_, following) in zip(
        zip(at, epochs, strict=True), zip(at[1:], epochs[1:], strict=True), strict=False
    ):
        if epoch != following:
            panel.axvline(before, color="#607d8b", linewidth=0.4, alpha=0.7)
    for when, title in course.acts:
        panel.axvline(when, color="black", linewidth=0.8, linestyle=":")
        panel.annotate(
            title, (when, 1), xycoords=("data", "axes fraction"), fontsize=5, rotation=90, va="top", ha="right"
        )
    panel.set_ylabel(name, fontsize=8)
    panel.set_ylim(bottom=0)
    panel.tick_params(labelsize=7)
