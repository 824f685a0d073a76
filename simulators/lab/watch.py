"""What the authority says about its nodes, polled through its operator API."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from authority.cli.client import OperatorClient, target
from authority.cli.output import CommandFailed
from simulators.lab.world import Authority

PERIOD_S = 0.4


class Watch:
    """A thread that keeps the newest view of every node and every alert, and tells when something changed."""

    def __init__(self, authority: Authority, changed: Callable[[], None]) -> None:
        self._client = OperatorClient(target(authority.state, None, None, None))
        self._changed = changed
        self._asking = threading.Lock()
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.nodes: dict[str, dict[str, Any]] = {}
        self.alerts: list[dict[str, Any]] = []

    def start(self) -> None:
        """Begin to poll."""
        self._thread.start()

    def close(self) -> None:
        """Stop polling."""
        self._stop.set()
        self._thread.join()

    def refresh(self) -> None:
        """Ask now."""
        with self._asking:
            self._refresh()
        self._changed()

    def _refresh(self) -> None:
        nodes = {entry["name"]: _flat(entry) for entry in self._client.get("/v1/nodes")}
        last = self.alerts[-1]["id"] if self.alerts else 0
        alerts = self._client.get("/v1/alerts", after=last)
        with self._news:
            self.nodes = nodes
            self.alerts += alerts
            self._news.notify_all()

    def challenge(self, name: str) -> None:
        """Summon somebody to a node; its open summons is left as it is."""
        self._client.post(f"/v1/nodes/{name}/challenge")

    def last_outcome(self, name: str) -> str:
        """How the node's newest presentation ended."""
        return str(self._client.get(f"/v1/nodes/{name}")["presentations"][0]["kind"])

    def wait(self, name: str) -> dict[str, Any]:
        """The node's entry after the next poll."""
        with self._news:
            self._news.wait(2 * PERIOD_S)
            return self.nodes[name]

    def settle(self) -> None:
        """Wait until two polls have passed."""
        for name in list(self.nodes)[:1]:
            self.wait(name)
            self.wait(name)

    def wait_for_key(self, name: str, version_state: str, seconds: float = 6.0) -> dict[str, Any]:
        """The node's entry once it holds a key of that version state, or the last one seen."""
        limit = time.monotonic() + seconds
        while (entry := self.nodes[name])["version_state"] != version_state and time.monotonic() < limit:
            self.wait(name)
        return entry

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                self.refresh()
            except CommandFailed:
                continue


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    """A node's view with its one network's key beside it."""
    network = entry["networks"][0] if entry["networks"] else {}
    keys = ("version", "version_state", "epoch", "resource_class")
    return {**entry, **{key: network.get(key) for key in keys}}
