"""What the database says at one moment: gauges, and counters that outlive a process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from sqlalchemy import ColumnElement, Connection, Select, func, select

from authority.alerts import ledger, refusals
from authority.metrics import names
from authority.metrics.names import Metric
from authority.store import schema
from authority.trust import OPEN_CHALLENGES

Value = tuple[tuple[str, ...], float]
LAST_BACKUP = "last-backup-at"
"""Key of `meta` with the POSIX seconds of the last backup."""


@dataclass(frozen=True)
class Snapshot:
    """Values by metric, each with its labels' values."""

    values: Mapping[Metric, Sequence[Value]] = field(default_factory=dict)

    def families(self) -> Iterator[Family]:
        """The form that the exposition takes."""
        for metric, values in self.values.items():
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for labels, value in values:
                family.add_metric(labels, value)
            yield family

    def with_values(self, more: Mapping[Metric, Sequence[Value]]) -> Snapshot:
        """This one, and what the process itself knows."""
        return Snapshot({**self.values, **more})


def take_snapshot(conn: Connection, destinations: Iterable[str], now: float) -> Snapshot:
    """All that scraping asks of the database, in one transaction; a few aggregates, whatever the history is long."""
    return Snapshot(
        {
            **_nodes(conn),
            **_rotations(conn, now),
            **_outboxes(conn, [*destinations], now),
            **_rest(conn),
        }
    )


def _nodes(conn: Connection) -> dict[Metric, Sequence[Value]]:
    node, sent, challenge = schema.node, schema.delivery, schema.challenge
    made, nodes = conn.execute(select(func.sum(node.c.next_delivery), func.count())).one()
    open_states = challenge.c.state.in_(OPEN_CHALLENGES)
    return {
        names.NODES: _grouped(conn, [node.c.state, node.c.tier]),
        names.CHALLENGES_OPEN: _grouped(conn, [challenge.c.state], open_states),
        names.DELIVERIES: _one((made or 0) - nodes),
        names.DELIVERIES_OPEN: _one(
            _count(conn, select(func.count()).where(sent.c.ended_at.is_(None) & sent.c.acked_at.is_(None)))
        ),
    }


def _rotations(conn: Connection, now: float) -> dict[Metric, Sequence[Value]]:
    network, member = schema.network, schema.member
    began, ended = network.c.stepped_at, network.c.settled_at
    oldest = conn.scalar(select(func.min(member.c.outstanding_since)))
    longest = conn.scalar(select(func.max(ended - began)).where(ended >= began))
    return {
        names.ROTATING: _one(_count(conn, select(func.count()).where(began > ended))),
        names.ROTATION_WAITED_FOR: _one(
            _count(conn, select(func.count()).where(member.c.outstanding_since.is_not(None)))
        ),
        names.ROTATION_LONGEST: _one(0.0 if oldest is None else max(0.0, now - oldest)),
        names.ROTATION_GIVEN_UP: _one(_count(conn, select(func.count()).select_from(schema.evicted_pair))),
        names.ROTATION_LAST: _one(longest or 0.0),
    }


def _outboxes(conn: Connection, destinations: Sequence[str], now: float) -> dict[Metric, Sequence[Value]]:
    found: dict[Metric, list[Value]] = {
        metric: []
        for metric in (names.OUTBOX, names.OUTBOX_AGE, names.ALERTS_SENT, names.ALERTS_FAILED, names.ALERTS_DROPPED)
    }
    for name in destinations:
        row, since = ledger.entry(conn, name), ledger.waiting_since(conn, name)
        counts = (row.sent, row.failed, row.dropped) if row is not None else (0, 0, 0)
        age = 0.0 if since is None else max(0.0, now - since)
        for metric, value in zip(found, (ledger.waiting(conn, name), age, *counts), strict=True):
            found[metric].append(((name,), float(value)))
    unseen = schema.alert.c.acknowledged_at.is_(None)
    aside = [((name,), float(refusals.set_aside(conn, name))) for name in destinations]
    opened = _grouped(conn, [schema.alert.c.severity], unseen)
    return {**found, names.ALERTS_SET_ASIDE: aside, names.ALERTS_OPEN: opened}


def _rest(conn: Connection) -> dict[Metric, Sequence[Value]]:
    engaged = select(func.count()).select_from(schema.brake).where(schema.brake.c.ended_at.is_(None))
    backup = conn.scalar(select(schema.meta.c.value).where(schema.meta.c.key == LAST_BACKUP))
    return {
        names.BRAKE: _one(min(1, _count(conn, engaged))),
        names.LAST_BACKUP: _one(float(backup) if backup is not None else 0.0),
    }


def _grouped(
    conn: Connection, columns: Sequence[ColumnElement[Any]], where: ColumnElement[bool] | None = None
) -> list[Value]:
    query = select(*columns, func.count()).group_by(*columns).order_by(*columns)
    rows = conn.execute(query if where is None else query.where(where))
    return [(tuple(str(each) for each in row[:-1]), float(row[-1])) for row in rows]


def _count(conn: Connection, query: Select[Any]) -> int:
    return int(conn.execute(query).scalar_one())


def _one(value: float) -> list[Value]:
    return [((), float(value))]
