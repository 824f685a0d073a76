"""A site under test: its processes, what its operator sees, and commands that are expected to be refused."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import AuthorityRefused
from authority.cli.output import CommandFailed
from authority.runtime import Runtime
from authority.service import open_authority
from authority.store import Store
from protocol.problems import ErrorCode
from simulators.lab.processes import command
from simulators.lab.site import SOON_S, LabSite
from simulators.lab.world import wait_for


@dataclass(frozen=True)
class Refusal:
    """How a command failed: exit status, cause and remedy, and everything that it printed."""

    status: int
    error: str
    remedy: str
    output: str


def refused(*argv: str, env: Mapping[str, str] | None = None, timeout: float = 60) -> Refusal:
    """Run a command of this installation that must fail with a cause and a remedy, and without a traceback."""
    done = subprocess.run(
        [command(argv[0]), *argv[1:]],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode > 0, f"{argv[:3]} ended with {done.returncode}: {output}"
    assert "Traceback" not in output
    error, remedy = _json_trouble(output) if "--json" in argv else _text_trouble(done.stderr)
    assert error, output
    assert remedy, output
    assert "internal error" not in error
    return Refusal(done.returncode, error, remedy, output)


def _json_trouble(output: str) -> tuple[str, str]:
    lines = [line for line in output.splitlines() if line.startswith('{"error"')]
    trouble = json.loads(lines[-1])
    return trouble["error"], trouble["remedy"]


def _text_trouble(output: str) -> tuple[str, str]:
    found = dict(line.split(": ", 1) for line in output.splitlines() if line.startswith(("error: ", "remedy: ")))
    return found.get("error", ""), found.get("remedy", "")


class Site(LabSite):
    """A running site under test."""

    def since(self) -> Since:
        """A mark in the audit log and the alerts."""
        return Since(self, _last(self.all("audit", "seq", 0), "seq"), _last(self.all("alerts", "id", 0), "id"))

    def all(self, what: str, key: str, after: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.operator.get(f"/v1/{what}", after=after):
            found += page
            after = page[-1][key]
        return found

    def library(self) -> tuple[Store, Runtime]:
        """The authority's own database and keys, for what no command makes; the caller closes the store."""
        from authority.config import load_site

        opened = open_authority(load_site(self.authority.state))
        return opened.store, opened.runtime

    @staticmethod
    def clock() -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def restart_authority(self) -> None:
        """Start the authority again, after it was killed, and wait until it answers operators."""
        self.authority.start()
        wait_for("the operator plane", self._answers, SOON_S, self.authority.server)

    def _answers(self) -> bool | None:
        try:
            return bool(self.operator.get("/v1/health")["ok"])
        except CommandFailed:
            return None


def _last(records: list[dict[str, Any]], key: str) -> int:
    return int(records[-1][key]) if records else 0


@dataclass(frozen=True)
class Since:
    """What was entered after a mark."""

    site: Site
    seq: int
    alert_id: int

    def audits(self, kind: str, /, **data: object) -> list[dict[str, Any]]:
        """Audit records of this kind whose data have these values."""
        found = self.site.all("audit", "seq", self.seq)
        return [each for each in found if each["kind"] == kind and _has(each["data"], data)]

    def audited(self, kind: str, /, **data: object) -> dict[str, Any]:
        """The first such record; waits for it."""
        return wait_for(f"audit line {kind} {data}", lambda: next(iter(self.audits(kind, **data)), None), SOON_S)

    def alerted(self, kind: str, node: str | None = None) -> dict[str, Any]:
        """The first alert of this kind; waits for it."""

        def probe() -> dict[str, Any] | None:
            alerts = self.site.all("alerts", "id", self.alert_id)
            return next((each for each in alerts if each["kind"] == kind and node in (None, each["node"])), None)

        return wait_for(f"alert {kind}", probe, SOON_S)


def _has(data: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    return all(data.get(key) == value for key, value in wanted.items())


def name_for(test: str) -> str:
    """A node name of its own for a test."""
    return f"n{zlib.crc32(test.encode()):08x}"


def code_of(error: AuthorityRefused) -> ErrorCode:
    """Why the authority refused."""
    return error.problem.code


def secret_file(path: Path, text: str) -> Path:
    """A 0600 file with one line."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text + "\n")
    return path
