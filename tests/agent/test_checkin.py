"""Checking in, and sharing a presentation, on the node's side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.cli import run
from agent.enclave import EnclaveGate
from agent.state import StateDirectory
from authority.tpm import verify_quote
from protocol.codec import decode
from protocol.digests import group_digest
from protocol.messages import GroupSubmission, GroupSummons
from tests.agent.daemon_site import STATUS, VERDICT, Site, make_site, until
from tests.agent.scripted_authority import served
from tests.agent.world import SELECTION


@pytest.fixture
def site(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[Site]:
    with served(tmp_path) as authority:
        yield make_site(authority, state, gate)


def test_a_group_summons_is_answered_by_a_quote_over_exactly_the_evidence(site: Site, gate: EnclaveGate) -> None:
    summons = GroupSummons(
        challenge_id="g1",
        nonce=b"n" * 32,
        evidence_sha256=b"e" * 32,
        pcr_selection=SELECTION,
        expires_at=time.time() + 60,
    )
    verdict = msgspec.structs.replace(VERDICT, challenge_id="g1")
    site.authority.on("POST", "/v1/challenges/g1/group", lambda _: verdict)
    site.authority.on_connect = [STATUS, summons]
    with site.running():
        until(lambda: site.standing().verdict == verdict)
    [body] = site.authority.seen("/v1/challenges/g1/group")
    quote = decode(body, GroupSubmission).quote
    ak = gate.run(lambda enclave: enclave.attestation_key())
    digest = group_digest("g1", b"n" * 32, b"e" * 32)
    verify_quote(quote.attest, quote.signature, ak, digest, tuple(SELECTION), quote.pcrs)


def test_checking_in_without_an_agent_says_what_to_do(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        f'[node]\nname = "n1"\nauthority = "{site.authority.url}"\nstate_dir = "{site.state.root}"\n'
        f'[devices.enclave]\ndriver = "tpm2"\nsha256 = "{"0" * 64}"\n'
    )
    assert run(["checkin", "--config", str(path), "--json"]) == 1
    assert "no agent is running" in capsys.readouterr().err
    site.authority.on("POST", "/v1/checkin", lambda _: b"{}")
    with site.state.daemon_lock():
        status = run(["checkin", "--config", str(path), "--json"])
    assert (status, len(site.authority.seen("/v1/checkin"))) == (0, 1), capsys.readouterr()
