"""Running the command line, and an authority that serves its operator plane."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from authority.alerts.destinations import destinations
from authority.cli import cli
from authority.cli.output import run_group
from authority.config import load_site
from authority.planes import Hub, operator_server
from authority.planes.operator_context import OperatorContext
from authority.planes.operator_plane import create_operator_app
from authority.service import Authority, open_authority
from authority.trust import load_policy
from authority.watching import watch_over
from tests.authority.planes.plane import HOST, listening


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as stop:
            run_group(cli, [str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        ended = Ended(int(stop.value.code or 0), out, err)
        assert "Traceback" not in ended.out + ended.err
        return ended

    return run_command


@dataclass(frozen=True)
class Serving:
    """An authority whose operator plane listens, and the options that lead a command there."""

    authority: Authority
    state: Path
    url: str

    @property
    def options(self) -> tuple[object, ...]:
        return "--state", self.state, "--url", self.url


@pytest.fixture
def serving(tmp_path: Path, run: Run) -> Iterator[Serving]:
    state = tmp_path / "state"
    assert run("init", "--name", HOST, "--state", state).status == 0
    authority = open_authority(load_site(state))
    hub = Hub()
    site = authority.site
    reload = partial(load_policy, site.path(site.config.policy))
    watch = watch_over(site, authority.store, authority.runtime, [each.name for each in destinations(site)])
    context = OperatorContext(
        authority.store,
        authority.runtime,
        hub,
        authority.ca.ca_sha256,
        reload,
        partial(destinations, site),
        watch=watch,
    )
    app = create_operator_app(context)
    with listening(operator_server(app, authority.ca, HOST, 0)) as running:
        yield Serving(authority, state, f"https://{HOST}:{running.server.port}")
    authority.store.close()
