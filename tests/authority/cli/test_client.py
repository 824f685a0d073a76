"""The command line's way to an authority of its own state folder, and what it says where TLS does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from authority.config import load_site
from authority.planes import Hub, operator_server
from authority.planes.operator_context import OperatorContext
from authority.planes.operator_plane import create_operator_app
from authority.service import open_authority
from tests.authority.cli.conftest import Run
from tests.authority.planes.plane import HOST, listening

NAME = "authority.example"


@pytest.fixture
def state(tmp_path: Path, run: Run) -> Iterator[Path]:
    """An authority set up under a host name, as the documentation says, that listens on every address."""
    folder = tmp_path / "state"
    assert run("init", "--name", NAME, "--state", folder).status == 0
    authority = open_authority(load_site(folder))
    context = OperatorContext(authority.store, authority.runtime, Hub(), authority.ca.ca_sha256, None)
    with listening(operator_server(create_operator_app(context), authority.ca, HOST, 0)) as running:
        file = folder / "authority.toml"
        text, port = file.read_text(), load_site(folder).config.operator_plane.port
        file.write_text(text.replace(f"port = {port}", f"port = {running.server.port}"))
        yield folder
    authority.store.close()


def test_an_authority_under_a_host_name_is_reached_by_its_state_folder(run: Run, state: Path) -> None:
    ended = run("node", "list", "--state", state, "--json")
    assert (ended.status, ended.value) == (0, [])


def test_another_name_in_the_certificate_is_not_taken_for_silence(run: Run, state: Path) -> None:
    url = f"https://{HOST}:{load_site(state).config.operator_plane.port}"
    ended = run("node", "list", "--state", state, "--url", url)
    assert ended.status == 1
    assert "certificate that is not to be trusted" in ended.err and "does not answer" not in ended.err
    assert "names" in ended.err


def test_the_certificate_must_be_of_the_first_name(run: Run, state: Path) -> None:
    """The name is checked, and not merely sent."""
    file = state / "authority.toml"
    file.write_text(file.read_text().replace(NAME, "another.example"))
    ended = run("node", "list", "--state", state)
    assert ended.status == 1 and "certificate that is not to be trusted" in ended.err


def test_another_authority_s_ca_is_told(run: Run, state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("init", "--name", NAME, "--state", other).status == 0
    ended = run("node", "list", "--state", state, "--ca-file", load_site(other).ca_certificate)
    assert ended.status == 1 and "certificate that is not to be trusted" in ended.err


def test_where_nobody_listens_the_remedy_is_to_start_it(run: Run, state: Path) -> None:
    ended = run("node", "list", "--state", state, "--url", "https://127.0.0.1:1")
    assert ended.status == 1 and "does not answer" in ended.err and "keyvigil-authority serve" in ended.err
