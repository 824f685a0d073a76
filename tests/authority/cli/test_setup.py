"""`init`: everything private, nothing half-made, and an error that names what is wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography import x509

from authority.config import load_site
from authority.operators import find_operator
from authority.roles import Scope
from authority.service import open_authority
from tests.authority.cli.conftest import Run

NAMES = ("--name", "vigil.example", "--name", "192.0.2.7")


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_init_makes_an_authority_that_opens(tmp_path: Path, run: Run):
    state = tmp_path / "state"
    made = run("init", *NAMES, "--state", state, "--json")
    assert made.status == 0
    assert made.value["operator_token"] == str(state / "operator.token")
    authority = open_authority(load_site(state))
    token = (state / "operator.token").read_text().strip()
    found = authority.store.run(lambda conn: find_operator(conn, token, authority.runtime.now()))
    authority.store.close()
    assert found is not None and found.may(Scope.ADMIN)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_what_init_makes_is_the_owner_s_alone(tmp_path: Path, run: Run, umask: int):
    before = os.umask(umask)
    try:
        run("init", *NAMES, "--state", tmp_path / "state")
    finally:
        os.umask(before)
    files = [file for file in (tmp_path / "state").rglob("*") if file.is_file()]
    public = {"ca.pem", "server.pem", "log.pem"}
    assert {mode(file) for file in files if file.name not in public} == {0o600}
    assert {mode(folder) for folder in (tmp_path / "state", tmp_path / "state" / "ca")} == {0o700}
    assert {file.name for file in files} >= {"authority.db", "kek.key", "operator.token", "authority.toml", "ca.key"}


def test_an_existing_empty_folder_is_closed_to_others(tmp_path: Path, run: Run):
    (tmp_path / "state").mkdir(mode=0o755)
    assert run("init", *NAMES, "--state", tmp_path / "state").status == 0
    assert mode(tmp_path / "state") == 0o700


def test_init_warns_of_what_is_weak(tmp_path: Path, run: Run):
    made = run("init", *NAMES, "--state", tmp_path / "state")
    assert "key-encryption key is a file" in made.err and "no EK roots" in made.err
    token = (tmp_path / "state" / "operator.token").read_text().strip()
    assert token not in made.out + made.err


def test_the_roots_stand_in_the_state_folder(tmp_path: Path, run: Run):
    run("init", *NAMES, "--state", tmp_path / "first")
    roots = tmp_path / "first" / "ca" / "ca.pem"
    made = run("init", *NAMES, "--state", tmp_path / "state", "--ek-roots", roots, "--lab-roots", roots)
    assert made.status == 0
    site = load_site(tmp_path / "state")
    (kept,) = (site.path(name) for name in site.config.endorsement.roots)
    assert x509.load_pem_x509_certificate(kept.read_bytes())
    assert len(site.config.endorsement.lab_roots) == 1


def test_init_never_touches_an_authority_that_is_there(tmp_path: Path, run: Run):
    state = tmp_path / "state"
    run("init", *NAMES, "--state", state)
    before = {file: file.read_bytes() for file in state.rglob("*.key")}
    again = run("init", *NAMES, "--state", state)
    assert again.status == 1 and "already holds an authority" in again.err and "remedy:" in again.err
    assert {file: file.read_bytes() for file in state.rglob("*.key")} == before


def test_init_never_touches_other_people_s_files(tmp_path: Path, run: Run):
    (tmp_path / "precious").write_text("x")
    ended = run("init", *NAMES, "--state", tmp_path)
    assert ended.status == 1 and "is not empty" in ended.err
    assert [*tmp_path.iterdir()] == [tmp_path / "precious"]


def pem(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "given"
    file.write_bytes(content)
    return file


BAD: dict[str, tuple[tuple[str, ...], bytes | None, str]] = {
    "name with a port": (("--name", "host:8443"), None, "host:8443"),
    "name that no certificate holds": (("--name", "münchen.example"), None, "host name"),
    "empty name": (("--name", ""), None, "host name"),
    "one port for both": ((*NAMES, "--node-port", "9000", "--operator-port", "9000"), None, "one port"),
    "odd listener": ((*NAMES, "--listen", 'x"y'), None, "host name"),
    "empty PEM": ((*NAMES, "--ek-roots", "FILE"), b"", "no certificates"),
    "garbage PEM": ((*NAMES, "--lab-roots", "FILE"), b"\xff\x00garbage", "no certificates"),
    "a key where roots belong": (
        (*NAMES, "--ek-roots", "FILE"),
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "no certificates",
    ),
    "policy with an unknown key": ((*NAMES, "--policy", "FILE"), b'version = "1"\ncolour = 1\n', "colour"),
    "policy out of range": (
        (*NAMES, "--policy", "FILE"),
        b'version = "1"\n[challenge]\nmin_modalities = 1\n',
        "min_modalities",
    ),
    "policy that is no TOML": ((*NAMES, "--policy", "FILE"), b"version = ", "Invalid value"),
    "policy that is no text": ((*NAMES, "--policy", "FILE"), b"\xff\xfe", "cannot be read"),
}


@pytest.mark.parametrize("flaw", BAD)
def test_bad_input_makes_nothing(tmp_path: Path, run: Run, flaw: str):
    options, content, named = BAD[flaw]
    if content is not None:
        given = pem(tmp_path, content)
        options = tuple(str(given) if option == "FILE" else option for option in options)
    ended = run("init", *options, "--state", tmp_path / "state")
    assert ended.status == 1
    assert named in ended.err and "remedy:" in ended.err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--name",),
        (*NAMES, "--node-port", "0"),
        (*NAMES, "--node-port", "65536"),
        (*NAMES, "--ek-roots", "/nonexistent"),
        (*NAMES, "--colour", "blue"),
    ],
)
def test_wrong_usage_ends_with_two(tmp_path: Path, run: Run, options: tuple[str, ...]):
    ended = run("init", *options, "--state", tmp_path / "state")
    assert ended.status == 2 and "Error" in ended.err
    assert not (tmp_path / "state").exists()


def test_a_failure_half_way_leaves_an_empty_folder(tmp_path: Path, run: Run):
    """Otherwise the next attempt would be refused because the folder is not empty."""
    state = tmp_path / "state"
    state.mkdir()
    limit = resource_limit(1000)
    try:
        ended = run("init", *NAMES, "--state", state)
    finally:
        limit()
    assert ended.status == 1 and "remedy:" in ended.err
    assert [*state.iterdir()] == []
    assert run("init", *NAMES, "--state", state).status == 0


def resource_limit(size: int):
    """No file of this process may be longer than `size` bytes until what is returned is called."""
    import resource
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    def restore() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)

    return restore


@pytest.mark.parametrize("command", [("serve",), ("node", "list"), ("alert", "list"), ("policy", "show")])
def test_a_state_folder_without_an_authority_says_what_to_do(tmp_path: Path, run: Run, command: tuple[str, ...]):
    ended = run(*command, "--state", tmp_path / "nowhere")
    assert ended.status == 1
    assert "does not exist" in ended.err and "init" in ended.err


def damaged(state: Path, name: str, content: bytes | None) -> None:
    (state / name).unlink() if content is None else (state / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("authority.toml", b"colour = 1", "colour"),
        ("policy.toml", b"colour = 1", "colour"),
        ("kek.key", b"short", "32 bytes"),
        ("kek.key", None, "kek.key"),
        ("ca/ca.key", b"garbage", "ca.key"),
        ("ca/ca.pem", None, "ca.pem"),
        ("authority.db", b"garbage " * 1000, "not a database"),
    ],
)
def test_a_damaged_state_is_named_before_anything_is_served(
    tmp_path: Path, run: Run, name: str, content: bytes | None, named: str
):
    state = tmp_path / "state"
    run("init", *NAMES, "--state", state)
    damaged(state, name, content)
    ended = run("serve", "--state", state)
    assert ended.status == 1
    assert named in ended.err and "remedy:" in ended.err
