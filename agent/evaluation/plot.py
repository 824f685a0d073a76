"""The page that goes with a report: DET curves, scores, and error-versus-discard curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.evaluation import rates
from agent.evaluation.attempts import Trials
from agent.evaluation.discard import SHARES, TOTAL
from agent.evaluation.evaluating import Discards, Evaluation
from agent.evaluation.pictures import missing

_COLOURS = {"single": "#1f5fa8", "operational": "#c2410c"}
_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5)
_EDGES = (0.00005, 0.6)
_BEST = 4
"""Measures shown beside the total score."""


def require_matplotlib() -> None:
    """Raise `EvaluationError` with the remedy where nothing can be plotted."""
    _figure_class()


def plot(evaluation: Evaluation, path: Path) -> None:
    """Write the page as the picture that the ending of `path` names; raises `OSError`."""
    figure = _figure_class()(figsize=(13, 10), layout="constrained")
    det, scores, operational, single = figure.subplots(2, 2).flat
    trials = {"single": evaluation.single, "operational": evaluation.operational.trials}
    _draw_det(det, trials, evaluation.pipeline.threshold.accept)
    _draw_scores(scores, trials["operational"], evaluation.pipeline.threshold.accept)
    for axes, name in ((operational, "operational"), (single, "single")):
        _draw_discards(axes, name, evaluation.discards.get(name))
    own = [each for each in evaluation.subjects if not each.stranger]
    figure.suptitle(f"{evaluation.request.modality}: {evaluation.folder.name}, {len(own)} subjects")
    figure.savefig(path, dpi=110)


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing("matplotlib") from None
    return Figure


def _draw_det(axes: Any, trials: Mapping[str, Trials], threshold: float) -> None:
    for name, each in trials.items():
        if not (len(each.genuine) and len(each.impostor)):
            continue
        curve = rates.det(each.genuine.scores, each.impostor.scores)
        label = f"{name}, EER {100 * rates.crossing(curve.fmr, curve.fnmr):.2g} %"
        axes.step(_probit(curve.fmr), _probit(curve.fnmr), where="post", color=_COLOURS[name], label=label)
    attempts = trials["operational"]
    if len(attempts.genuine) and len(attempts.impostor):
        point = [rates.fmr(attempts.impostor.scores, threshold)], [rates.fnmr(attempts.genuine.scores, threshold)]
        label = f"the product's threshold {threshold:g}"
        axes.plot(*map(_probit, map(np.array, point)), "o", color=_COLOURS["operational"], label=label)
    _probit_axes(axes)


def _probit_axes(axes: Any) -> None:
    edges = _probit(np.array(_EDGES))
    axes.plot(edges, edges, color="0.8", linewidth=0.8, zorder=0)
    for axis, name in ((axes.xaxis, "FMR"), (axes.yaxis, "FNMR")):
        axis.set_ticks(_probit(np.array(_TICKS)), [f"{100 * tick:g} %" for tick in _TICKS])
        axis.set_label_text(name)
    axes.set(xlim=edges, ylim=edges, title="Detection error trade-off")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", fontsize="small")


def _draw_scores(axes: Any, trials: Trials, threshold: float) -> None:
    both = np.concatenate([trials.genuine.scores, trials.impostor.scores])
    if not both.size:
        axes.set_axis_off()
        return
    bins = np.histogram_bin_edges(both, 60)
    for name, attempts, colour in (("impostor", trials.impostor, "0.45"), ("genuine", trials.genuine, "#15803d")):
        if len(attempts):
            weights = np.full(len(attempts), 1.0 / len(attempts))
            axes.hist(attempts.scores, bins, weights=weights, alpha=0.6, color=colour, label=f"{name}, {len(attempts)}")
    axes.axvline(threshold, color=_COLOURS["operational"], label=f"threshold {threshold:g}")
    axes.set(title="Operational scores", xlabel="score", ylabel="share of attempts", yscale="log")
    axes.legend(fontsize="small")


def _draw_discards(axes: Any, name: str, found: Discards | None) -> None:
    title = f"Error versus discard, {name}"
    if found is None:
        axes.set(title=f"{title}: unresolved")
        axes.set_axis_off()
        return
    shown = [curve for index, curve in enumerate(found.curves) if index <= _BEST]
    for curve in shown:
        known = _percentages(curve.fnmr)
        weight = 2.2 if curve.measure == TOTAL else 1.0
        axes.plot(100 * np.array(SHARES), known, linewidth=weight, label=f"{curve.measure} ({curve.keep} kept)")
    first = _percentages(found.curves[0].fnmr)[0]
    axes.plot(
        100 * np.array(SHARES),
        np.maximum(0.0, first - 100 * np.array(SHARES)),
        ":",
        color="0.5",
        label="as fast as discarding",
    )
    axes.set(title=f"{title}, threshold {found.threshold:.3g} ({found.origin})", ylim=(0, None))
    axes.set(xlabel="captures discarded, worst first, %", ylabel="FNMR, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _percentages(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else 100 * value for value in values])


def _probit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal deviates of rates, held inside the axes."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(min(_EDGES[1], max(_EDGES[0], float(value)))) for value in values])
