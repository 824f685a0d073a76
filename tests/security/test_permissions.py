"""CVE-2022-23950, CVE-2022-23952, SPI-01-002: secrets that others could read, sockets that others could take."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from agent.durable import write_private
from agent.state import StateDirectory
from authority.config import AuthorityConfig, Listener, Site, render
from authority.keys import FileKek, KekError
from authority.service import initialise
from authority.trust import default_policy
from tests.security.broken import NOTICED
from tests.security.test_constant_nonce import product

Make = Callable[[Path], None]
PUBLIC = {"ca.pem", "server.pem", "log.pem", "authority.toml", "policy.toml"}
"""What may be read by anybody who gets into the folder: nobody does."""
TEMPORARY = re.compile(r"""["'](?:/tmp|/var/tmp|/dev/shm)\b|\bmktemp\(|gettempdir\(""")


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Whatever is not made private stays open."""
    before = os.umask(0)
    yield
    os.umask(before)


def authority_state(folder: Path) -> None:
    """What `keyvigil-authority init` makes, in a folder that exists."""
    folder.chmod(0o700)
    here = Listener(host="127.0.0.1", port=1)
    site = Site(folder, AuthorityConfig(names=["localhost"], node_plane=here, operator_plane=here))
    (folder / "authority.toml").write_text(render(site.config))
    (folder / "policy.toml").write_text(f'version = "{default_policy().version}"\n')
    initialise(site, ["localhost"])


def agent_state(folder: Path) -> None:
    """What an agent writes: through one function, in one kind of folder."""
    folder.chmod(0o700)
    state = StateDirectory.open(folder / "state")
    write_private(state.root / "identity.json", b"{}")


def check_nothing_is_open(folder: Path, make: Make) -> None:
    make(folder)
    found = [path for path in (folder, *folder.rglob("*")) if path.name not in PUBLIC]
    assert len(found) > 2
    assert [path.name for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []


def check_an_open_secret_is_refused(path: Path, read: Callable[[Path], object]) -> None:
    FileKek.create(path)
    path.chmod(0o644)
    with pytest.raises(KekError, match="open to others"):
        read(path)


def check_no_name_is_anybody_s(sources: Mapping[str, str]) -> None:
    """No path in a folder that everybody may write: nobody waits there for a socket or a file of ours."""
    assert [name for name, text in sources.items() if TEMPORARY.search(text)] == []


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("make", [authority_state, agent_state])
def test_nothing_is_open_to_others(tmp_path: Path, make: Make) -> None:
    check_nothing_is_open(tmp_path, make)


def leaves_a_key_open(folder: Path) -> None:
    authority_state(folder)
    (folder / "ca" / "ca.key").write_bytes((folder / "ca" / "ca.key").read_bytes())
    (folder / "ca" / "ca.key").chmod(0o640)


def leaves_a_socket_open(folder: Path) -> None:
    agent_state(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(folder)
        listener.bind("control")
        os.chdir(before)


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("make", [leaves_a_key_open, leaves_a_socket_open])
def test_what_is_left_open_is_noticed(tmp_path: Path, make: Make) -> None:
    with pytest.raises(NOTICED):
        check_nothing_is_open(tmp_path, make)


def test_an_open_secret_is_refused(tmp_path: Path) -> None:
    check_an_open_secret_is_refused(tmp_path / "kek.key", FileKek.open)


def test_a_reader_that_does_not_look_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(NOTICED):
        check_an_open_secret_is_refused(tmp_path / "kek.key", lambda path: path.read_bytes())


def test_no_name_is_anybody_s() -> None:
    check_no_name_is_anybody_s(product("agent", "authority", "drivers", "hal", "protocol"))


@pytest.mark.parametrize("line", ['SOCKET = "/tmp/keyvigil.sock"', "name = tempfile.mktemp()"])
def test_a_fixed_temporary_name_is_noticed(line: str) -> None:
    with pytest.raises(NOTICED):
        check_no_name_is_anybody_s({"made.py": line})
