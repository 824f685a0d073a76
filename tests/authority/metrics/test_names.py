"""Names as Prometheus wants them, labels that cannot grow without end, and a dashboard that asks for what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from authority.metrics.names import ALL, Metric

DASHBOARD = Path(__file__).parents[3] / "docs" / "dashboards" / "keyvigil.json"
BOUNDED = {"outcome", "kind", "state", "tier", "destination", "severity", "plane", "certificate", "check", "version"}
_USED = re.compile(r"keyvigil_[a-z_]+")


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"keyvigil_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.help.endswith(".") and not metric.help[0].islower()
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert [*metric.buckets] == sorted({*metric.buckets})
    for unit in ("millis", "_ms", "minutes", "hours", "percent"):
        assert unit not in metric.name
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")


def test_no_label_can_hold_a_node_a_person_or_a_network() -> None:
    assert {label for metric in ALL for label in metric.labels} <= BOUNDED


def test_names_are_unique() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL)


def _expressions(panel: dict) -> list[str]:
    inner = [each for child in panel.get("panels", []) for each in _expressions(child)]
    return [target["expr"] for target in panel.get("targets", [])] + inner


def series() -> set[str]:
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
    return {metric.name + suffix for metric in ALL for suffix in suffixes[metric.kind]}


def test_the_dashboard_asks_only_for_what_there_is() -> None:
    board = json.loads(DASHBOARD.read_text())
    asked = [each for panel in board["panels"] for each in _expressions(panel)]
    assert asked
    names = {name for each in asked for name in _USED.findall(each)}
    assert names <= series(), names - series()
    labels = {label for each in asked for clause in re.findall(r"by \(([^)]*)\)", each) for label in clause.split(", ")}
    assert labels <= BOUNDED | {"le"}


def test_the_dashboard_shows_every_metric() -> None:
    shown = set(_USED.findall(DASHBOARD.read_text()))
    missing = {metric.name for metric in ALL if not any(name.startswith(metric.name) for name in shown)}
    assert missing == set()


def test_a_dashboard_with_a_name_that_is_gone_is_noticed() -> None:
    assert "keyvigil_nodes_online" not in series()
    assert set(_USED.findall("sum(keyvigil_nodes_online)")) - series()
