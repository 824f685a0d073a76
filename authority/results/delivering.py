"""Subscribers to attestation results: each is sent every one by signed HTTP, by the same pump as alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row

from authority.alerts import AlertSink, ledger
from authority.alerts.destinations import webhook_sink
from authority.alerts.pumping import Pump, RunTransaction, all_are_ours
from authority.config import ConfigError, Site
from authority.results.issuing import QUEUE


@dataclass(frozen=True)
class Subscriber:
    """Who is sent results; with more than `backlog` waiting, the oldest are given up."""

    name: str
    sink: AlertSink
    backlog: int | None


def subscribers(site: Site) -> list[Subscriber]:
    """All that the configuration names, each with a sink of its own, nothing open yet; raises `ConfigError`."""
    chosen = site.config.results
    if chosen.subscribers and chosen.kept_s <= 0:
        raise ConfigError("[results] kept_s is 0, and there are subscribers", "Keep results for a while.")
    names = [each.name for each in chosen.subscribers]
    if len({*names}) != len(names):
        raise ConfigError("two subscribers to results have one name", "Give each a name of its own.")
    return [
        Subscriber(each.name, webhook_sink(site, each, f"subscriber {each.name}"), each.backlog)
        for each in chosen.subscribers
    ]


class ResultPump(Pump[Subscriber]):
    """As `Pump`. Ids come again after a restore of an older database, so that keys have the `generation` with them."""

    def __init__(
        self,
        run: RunTransaction,
        receivers: Sequence[Subscriber],
        generation: int,
        now: Callable[[], float],
        *,
        pause_s: float,
        ours: Callable[[Connection, str], bool] = all_are_ours,
    ) -> None:
        super().__init__(run, receivers, QUEUE, now, pause_s=pause_s, ours=ours)
        self._generation = generation

    def begin(self) -> None:
        """Let subscribers that are new begin with what is issued from now on."""
        for each in self._destinations:
            self._run(lambda conn, name=each.name: ledger.begin(conn, name, QUEUE))  # type: ignore[misc]

    def start(self) -> None:
        """Begin to pump in the background."""
        self.begin()
        super().start()

    def _message(self, _to: Subscriber, row: Row[Any]) -> tuple[bytes, str]:
        key = f"attestation-result-{self._generation}-{row.id}"
        told = {"id": row.id, "node": row.node_name or "", "node_id": row.node_id, "cause": row.cause, "ear": row.ear}
        return written("attestation-result", row.at, told), key


def written(kind: str, at: float, data: dict[str, Any]) -> bytes:
    """A message as Standard Webhooks recommends: type, timestamp (ISO 8601), data."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": kind, "timestamp": moment, "data": data}).encode()
