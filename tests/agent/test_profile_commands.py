"""`keyvigil profile list|erase|renew` as commands: several administrators, a lost TPM, an authority that is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from agent.cli import run
from hal import available_drivers
from protocol.codec import decode
from protocol.messages import EnrolStart, ErasedRecord
from protocol.problems import ErrorCode
from tests.agent.daemon_site import GENUINE, Site, make_site
from tests.agent.scripted_authority import Refusal, served
from tests.agent.sealing import Node, text_draft
from tests.agent.world import Tpm

TICKET = "kvt1." + "0" * 16 + "." + "A" * 43


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Commands at a joined node, at which alice is enrolled as r1 and bob as r2."""

    site: Site
    config: Path
    capsys: pytest.CaptureFixture[str]

    def profile(self, *arguments: str) -> Ended:
        self.capsys.readouterr()
        status = run(["profile", *arguments, "--config", str(self.config)])
        out, err = self.capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(status, out, err)

    def records(self) -> set[str]:
        return {path.name.partition(".")[0] for path in self.site.state.profiles.glob("*.record")}

    def files(self, **texts: str) -> list[str]:
        """Options that name files with these secrets."""
        options = []
        for name, text in texts.items():
            path = self.config.with_name(name)
            path.touch(mode=0o600)
            path.write_text(text)
            options += [f"--{name}-file", str(path)]
        return options


def write_config(path: Path, site: Site, tcti: str) -> Path:
    path.write_text(
        f"""
        [node]
        name = "node-a"
        state_dir = "{site.state.root}"
        authority = "{site.authority.url}"
        [devices.enclave]
        driver = "tpm2"
        sha256 = "{available_drivers()["tpm2"].sha256}"
        options = {{ tcti = "{tcti}" }}
        [connection]
        timeout_s = 5
        """
    )
    return path


@pytest.fixture
def shell(tmp_path: Path, tpm: Tpm, state: Any, gate: Any, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with served(tmp_path) as authority:
        site = make_site(authority, state, gate)
        bobs = replace(text_draft("r2", {name: line[0] for name, line in GENUINE.items()}), admin="bob")
        Node(gate, state, site.daemon().answerer.vault, site.holder).enrol(bobs)
        authority.on("POST", "/v1/profiles/r1/erased", lambda _: b"{}")
        yield Shell(site, write_config(tmp_path / "agent.toml", site, tpm.swtpm.tcti), capsys)


def test_every_administrator_is_listed_and_what_cannot_be_read_is_named(shell: Shell) -> None:
    listed = shell.profile("list", "--json").value["profiles"]
    assert {(each["record_id"], each["admin"], each["guarded"]) for each in listed} == {
        ("r1", "alice", True),
        ("r2", "bob", True),
    }
    assert set(listed[0]["modalities"]) == set(GENUINE) and listed[0]["bound"]
    next(shell.site.state.profiles.glob("r1.*.record")).write_bytes(b"garbage")
    ended = shell.profile("list", "--json")
    assert ended.status == 0
    [broken] = [each for each in ended.value["profiles"] if "error" in each]
    assert broken["record_id"] == "r1" and broken["remedy"]
    words = shell.profile("list").out
    assert "bob: " in words and "r1" in words


def test_erasing_one_administrator_leaves_the_other_and_tells_the_authority(shell: Shell) -> None:
    ended = shell.profile("erase", "r1", "--json")
    assert (ended.status, ended.value) == (0, {"record_id": "r1", "erased": True, "left": []})
    assert shell.records() == {"r2"}
    (told,) = shell.site.authority.seen("/v1/profiles/r1/erased")
    assert decode(told, ErasedRecord).record_id == "r1"
    assert "is erased, here and at the authority" in shell.profile("erase", "r1").out, "again does no harm"


def test_an_authority_that_is_away_is_told_later(shell: Shell) -> None:
    def away(_: bytes) -> object:
        raise Refusal(503, ErrorCode.UNAVAILABLE, "the disk is full", "Make room.")

    shell.site.authority.on("POST", "/v1/profiles/r1/erased", away)
    ended = shell.profile("erase", "r1")
    assert ended.status != 0 and "remedy: " in ended.err
    assert shell.records() == {"r2"}, "what is here is gone in any case"
    shell.site.authority.on("POST", "/v1/profiles/r1/erased", lambda _: b"{}")
    assert shell.profile("erase", "r1").status == 0


def test_erasing_at_a_node_that_lost_its_tpm_says_what_stays(shell: Shell, other_tpm: Tpm) -> None:
    write_config(shell.config, shell.site, other_tpm.swtpm.tcti)
    ended = shell.profile("erase", "r1", "--json")
    assert (ended.status, ended.value["erased"]) == (0, True)
    assert shell.records() == {"r2"}
    assert shell.profile("list", "--json").value["profiles"][0]["admin"] == "bob"


@pytest.mark.parametrize("name", ["../r2", "r2/../r2", "..", "*", "r 1"])
def test_a_record_is_a_name_and_no_path(shell: Shell, name: str) -> None:
    before = {path.name: path.read_bytes() for path in shell.site.state.profiles.iterdir()}
    ended = shell.profile("erase", name)
    assert ended.status != 0 and "remedy: " in ended.err
    assert {path.name: path.read_bytes() for path in shell.site.state.profiles.iterdir()} == before
    assert not shell.site.authority.seen("/v1/profiles/r2/erased")


def test_renewing_asks_for_the_owner_of_the_record_and_a_refusal_leaves_the_old_one(shell: Shell) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(403, ErrorCode.TICKET_INVALID, "this ticket is not valid", "Ask for another.")

    shell.site.authority.on("POST", "/v1/enrolments", refuse)
    secrets = shell.files(ticket=TICKET, pin="123456")
    ended = shell.profile("renew", "r2", *secrets, "--accept-consent", "--unattended")
    assert ended.status != 0 and "this ticket is not valid" in ended.err and "remedy: " in ended.err
    assert "123456" not in ended.err + ended.out and "A" * 43 not in ended.err + ended.out
    (asked,) = shell.site.authority.seen("/v1/enrolments")
    start = decode(asked, EnrolStart)
    assert (start.admin, start.replaces) == ("bob", "r2")
    assert shell.records() == {"r1", "r2"}


def test_what_cannot_be_renewed_is_told_before_anybody_is_asked(shell: Shell) -> None:
    secrets = shell.files(ticket=TICKET, pin="123456")
    unknown = shell.profile("renew", "r9", *secrets, "--json")
    assert unknown.status != 0 and "no profile r9" in unknown.out + unknown.err
    crooked = shell.profile("renew", "r1", *shell.files(ticket="kvt1.crooked", pin="1"), "--unattended")
    assert crooked.status != 0 and "remedy: " in crooked.err and "crooked" not in crooked.err
    next(shell.site.state.profiles.glob("r1.*.record")).write_bytes(b"garbage")
    broken = shell.profile("renew", "r1", *secrets)
    assert broken.status != 0 and "remedy: " in broken.err
    assert shell.profile("renew", "r1").status == 2
    assert shell.site.authority.seen("/v1/enrolments") == []
