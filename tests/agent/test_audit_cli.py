"""`keyvigil audit`: what is kept is listed, and opened with the administrator's word only, into a new private file."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from agent.cli import run
from agent.enclave import EnclaveGate
from agent.openings import OpeningStore
from agent.profile import ProfileVault
from agent.state import StateDirectory
from protocol.codec import decode
from protocol.openings import Opening
from tests.agent.sealing import Node, text_draft
from tests.agent.test_cli import write_config
from tests.agent.test_openings import MADE
from tests.agent.world import SELECTION, Tpm

FACE = msgspec.structs.replace(MADE, index=0, model=msgspec.structs.replace(MADE.model, modality="face"))


@dataclass
class Desk:
    """A node of `alice` that keeps the openings of challenge c1, of face and voice."""

    config: Path
    store: OpeningStore
    out: Path
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        status = run(["audit", *arguments, "--config", str(self.config)])
        said = self.capture.readouterr()
        return status, said.out, said.err

    def open(self, *more: str, challenge: str = "c1", modality: str = "voice") -> tuple[int, str, str]:
        return self.run("open", challenge, "--modality", modality, "--out", str(self.out), *more)


@pytest.fixture
def desk(
    tpm: Tpm, gate: EnclaveGate, state: StateDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Desk:
    vault = ProfileVault(state, os.urandom)
    Node(gate, state, vault).enrol(text_draft("r1", {"fingerprint": "finger", "face": "face", "voice": "voice"}))
    store = OpeningStore(state.openings, os.urandom, time.time)
    with gate.use() as enclave:
        store.keep(enclave, tuple(SELECTION), [FACE, MADE], 3600)
    return Desk(write_config(tmp_path, tpm.swtpm.tcti), store, tmp_path / "opening.json", capsys)


def test_what_is_kept_is_listed_and_what_is_over_is_not(desk: Desk) -> None:
    (desk.store.folder / "r1.c0.1.2.opening").write_bytes(b"sealed")
    status, out, _ = desk.run("list", "--json")
    (one,) = json.loads(out)["openings"]
    assert (status, one["challenge_id"], one["record_id"]) == (0, "c1", "r1")
    assert one["until"] - one["made_at"] == 3600
    assert not (desk.store.folder / "r1.c0.1.2.opening").exists()
    assert desk.run("list")[1].startswith("c1  r1  made 20")


def test_an_opening_is_exported_with_the_administrator_s_word(desk: Desk) -> None:
    status, out, err = desk.open("--i-have-consent", "--json")
    assert status == 0
    assert json.loads(out)["modality"] == "voice"
    assert decode(desk.out.read_bytes(), Opening) == MADE
    assert stat.S_IMODE(desk.out.stat().st_mode) == 0o600
    assert "alice" in err and "not encrypted" in err
    for secret in (MADE.features.decode(), MADE.features.hex(), MADE.blinding.hex()):
        assert secret not in out + err


def test_without_it_nothing_is_opened(desk: Desk) -> None:
    status, _, err = desk.open()
    assert (status, "nobody agreed" in err) == (1, True)
    assert not desk.out.exists()


@pytest.mark.parametrize(("typed", "status"), [("alice", 0), ("mallory", 1), ("", 1)])
def test_the_administrator_types_their_name(desk: Desk, typed: str, status: int) -> None:
    screen, end = pty.openpty()
    command = [sys.executable, "-m", "agent.cli", "audit", "open", "c1", "--modality", "face", "--out", str(desk.out)]
    process = subprocess.Popen([*command, "--config", str(desk.config)], stdin=end, stderr=subprocess.PIPE)
    os.write(screen, typed.encode() + b"\n")
    _, err = process.communicate(timeout=60)
    os.close(screen)
    os.close(end)
    assert process.returncode == status, err
    assert desk.out.exists() == (status == 0)
    assert b"type your name" in err


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"challenge": "c9"}, "keeps no opening"), ({"modality": "fingerprint"}, "has no fingerprint")],
)
def test_what_is_not_there_is_named(desk: Desk, changes: dict[str, str], says: str) -> None:
    status, _, err = desk.open("--i-have-consent", **changes)
    assert status != 0
    assert says in err and "remedy: " in err
    assert not desk.out.exists()


def test_a_file_that_is_there_is_not_written_over_nor_one_made_in_the_state_directory(desk: Desk) -> None:
    desk.out.write_text("mine")
    assert desk.open("--i-have-consent")[0] == 2
    assert desk.out.read_text() == "mine"
    desk.out = desk.store.folder / "x.json"
    status, _, err = desk.open("--i-have-consent")
    assert (status, "state directory" in err) == (2, True)
    desk.out = desk.out.parent / "nowhere" / "x.json"
    assert desk.open("--i-have-consent")[0] == 2


def test_an_opening_of_an_erased_profile_cannot_be_agreed_to(desk: Desk, state: StateDirectory) -> None:
    ProfileVault(state, os.urandom).discard("r1")
    status, _, err = desk.open("--i-have-consent")
    assert (status, "nobody can agree" in err) == (1, True)
