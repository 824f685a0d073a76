"""A report as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.log import printable

_LEVELS = ("0.01", "0.001", "0.0001")
_BEST_MEASURES = 3


def rendered(report: Mapping[str, Any]) -> RenderableType:
    """The rates of both protocols with their intervals, what happened besides, and the recommendation."""
    told = [list(part(report)) for part in (_lines, _setbacks, _spoken, _advice)]
    paragraphs = [Text("\n".join(map(printable, ["", *lines]))) for lines in told if lines]
    return Group(_title(report), _rates(report), *paragraphs)


def _spoken(report: Mapping[str, Any]) -> Iterator[str]:
    """Spoken digits, where they were measured."""
    found = report.get("spoken_digits")
    for name, words in (("alone", "whoever speaks"), ("own", "with own takes")):
        if found is not None and (outcome := found[name]) is not None:
            right, other = outcome["right"], outcome["random_other"]
            yield (
                f"{found['digits']} spoken digits, {words}: right strings accepted at the first try "
                f"{_with(right['rate'], right['interval'])}, random others {_percent(other['rate'])} "
                f"({other['accepted']} of {other['attempts']})."
            )


def _title(report: Mapping[str, Any]) -> Text:
    counted = f"{report['subjects']} subjects, {report['samples']} {report['material'] or 'samples'}"
    if (strangers := report["strangers"]) is not None:
        counted += f", and {strangers['subjects']} strangers of {strangers['dataset']}"
    title = Text(f"{report['modality']}: {printable(report['dataset'])}", style="bold")
    return title.append(f"\n{printable(counted)}. {printable(report['versions']['model'])}", style="not bold dim")


def _rates(report: Mapping[str, Any]) -> Table:
    single, operational = report["single"], report["operational"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    together = f"{operational['enrol_samples']} enrolled, {operational['probe_samples']} presented"
    for heading in ("", "single", f"operational ({together})"):
        table.add_column(heading, overflow="fold")
    attempts = [f"{each['genuine_attempts']} / {each['impostor_attempts']}" for each in (single, operational)]
    table.add_row("genuine / impostor attempts", *attempts)
    table.add_row("EER", *(_with(each["eer"], each["intervals"]["eer"]) for each in (single, operational)))
    for level in _LEVELS:
        cells = (
            _with(each["fnmr_at_fmr"][level], each["intervals"]["fnmr_at_fmr"][level]) for each in (single, operational)
        )
        table.add_row(f"FNMR at FMR {_percent(float(level))}", *cells)
    threshold = operational["threshold"]
    at = "through the profile" if threshold is None else f"at the product's {threshold:g}"
    for name in ("fnmr", "fmr"):
        cell = _with(operational[name], operational["intervals"][name])
        table.add_row(f"{name.upper()} {at}", "", cell)
    return table


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    operational, timing = report["operational"], report["timing_ms"]
    yield (
        f"Failure to acquire {_percent(report['failure_to_acquire'])}, failure to enrol "
        f"{_percent(operational['failure_to_enrol'])}; with them FRR {_percent(operational['frr'])} and FAR "
        f"{_percent(operational['far'])}."
    )
    bounds = operational["without_errors"]
    yield (
        "Intervals: 95 %, bootstrap over subjects. Unresolved: too few impostor attempts for that FMR. Where no error "
        f"was seen, these subjects show an FNMR below {_percent(bounds['fnmr_upper'])} and their pairs an FMR below "
        f"{_percent(bounds['fmr_upper'])} only (rule of three)."
    )
    if timing["features_p50"] is not None and timing["match_p50"] is not None:
        yield (
            f"CPU: features {timing['features_p50']:.0f} ms (95 %: {timing['features_p95']:.0f}), "
            f"match {timing['match_p50']:.2g} ms (95 %: {timing['match_p95']:.2g})."
        )
    yield from _discards(report["error_versus_discard"])


def _setbacks(report: Mapping[str, Any]) -> Iterator[str]:
    for what in ("reduced", "left_out"):
        for reason, subjects in _grouped(report["operational"][what]).items():
            yield f"{what.replace('_', ' ').capitalize()} in operation: {', '.join(subjects)} ({reason})."
    setbacks = report["setbacks"]
    for reason, subjects in setbacks["samples_left_out"].items():
        yield f"{sum(subjects.values())} samples left out: {reason}."
    for reason, count in setbacks["refused_at_verification"].items():
        yield f"Refused {count} times: {reason}"
    if setbacks["subjects_without_samples"]:
        why = " (a string of digits takes six files)" if report["material"] == "digit strings" else ""
        yield f"Without a sample{why}: {', '.join(setbacks['subjects_without_samples'])}."
    if setbacks["duplicate_samples"]:
        yield f"{setbacks['duplicate_samples']} samples are copies of others: rates look better or worse than they are."
    if setbacks["files_ignored"]:
        yield f"Ignored: {', '.join(f'{count} ({what})' for what, count in setbacks['files_ignored'].items())}."


def _grouped(setbacks: list[Mapping[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for each in setbacks:
        grouped.setdefault(each["reason"], []).append(each["subject"])
    return grouped


def _discards(discards: Mapping[str, Any]) -> Iterator[str]:
    for protocol in ("operational", "single"):
        found = discards.get(protocol)
        if found is None:
            continue
        total, *others = found["curves"].items()
        if not total[1]["fnmr"][0]:
            yield f"No genuine attempt fails at {found['threshold']:.4g}, {protocol}: there is nothing to gain."
            continue
        shown = [f"{name} {_gain(curve)}" for name, curve in (total, *others[:_BEST_MEASURES])]
        yield f"FNMR saved by refusing the worst captures (mean over 0 to 30 %), {protocol}: {', '.join(shown)}."


def _gain(curve: Mapping[str, Any]) -> str:
    return "nothing to save" if curve["gain"] is None else f"{100 * curve['gain']:+.0f} %"


def _advice(report: Mapping[str, Any]) -> Iterator[str]:
    advice = report["recommendation"]
    if advice is None:
        return
    by_bootstrap, by_rule = _percent(advice["fmr_upper_bootstrap"]), _percent(advice["fmr_upper_by_rule"])
    upper = (
        f"at most {by_bootstrap} by the bootstrap and {by_rule}" if advice["false_matches"] else f"at most {by_rule}"
    )
    yield (
        f"For an FMR of {_percent(advice['wanted_fmr'])}: threshold {advice['threshold']:.4g}, where the FMR is "
        f"{_percent(advice['fmr'])}, {upper} by pairs of subjects."
    )
    yield str(advice["statement"])
    upper_now = _percent(advice["production_fmr_upper_by_rule"])
    yield (
        f"The product's threshold stays {advice['production_threshold']:g}: FMR {_percent(advice['production_fmr'])}, "
        f"at most {upper_now} by pairs of subjects."
    )


def _with(rate: float | None, interval: list[float] | None) -> str:
    if rate is None:
        return "unresolved"
    return _percent(rate) if interval is None else f"{_percent(rate)}  [{_number(interval[0])}, {_number(interval[1])}]"


def _percent(rate: float | None) -> str:
    return "unknown" if rate is None else f"{_number(rate)} %"


def _number(rate: float) -> str:
    return f"{100 * rate:.3g}"
