"""Erasing a profile by command or order, and a locked profile key that the authority opens again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.enclave import EnclaveGate
from agent.erasing import Eraser
from agent.state import StateDirectory
from authority.tpm import Guard, reset_message
from hal import AuthorisationFailed, NotFound
from protocol.codec import decode
from protocol.guard import PIN_LIMIT
from protocol.messages import ErasedRecord, ErasureOrder, ResetGrant, ResetRequest
from protocol.problems import ErrorCode
from tests.agent.daemon_site import VERDICT, Site, make_site, summons, until
from tests.agent.scripted_authority import Refusal, served
from tests.agent.world import raw_signature


@pytest.fixture
def site(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[Site]:
    with served(tmp_path) as authority:
        yield make_site(authority, state, gate)


def profiles(site: Site) -> list[str]:
    return [path.name for path in site.state.profiles.iterdir()]


def test_an_order_removes_the_record_and_its_guard_and_the_authority_is_told(site: Site) -> None:
    site.authority.on("POST", "/v1/profiles/r1/erased", lambda _: b"{}")
    daemon = site.daemon()
    key = daemon.answerer.vault.header("r1").key
    daemon.answerer.link.close()
    site.authority.on_connect = [ErasureOrder(record_id="r1")]
    with site.running():
        until(lambda: site.authority.seen("/v1/profiles/r1/erased"))
    assert profiles(site) == []
    (told,) = site.authority.seen("/v1/profiles/r1/erased")
    assert decode(told, ErasedRecord).record_id == "r1"
    with site.gate.use() as enclave, pytest.raises(NotFound):
        key.guard_state(enclave)


def test_the_openings_of_a_record_go_with_it_and_others_stay(site: Site) -> None:
    site.authority.on("POST", "/v1/profiles/r1/erased", lambda _: b"{}")
    for name in ("r1.c1.1.9999999999.opening", ".r1.c2.1.9999999999.opening.new", "r2.c3.1.9999999999.opening"):
        (site.state.openings / name).write_bytes(b"sealed")
    daemon = site.daemon()
    daemon.answerer.erase("r1")
    daemon.answerer.link.close()
    assert [path.name for path in site.state.openings.iterdir()] == ["r2.c3.1.9999999999.opening"]


def test_a_daemon_that_starts_removes_what_is_past_its_window_or_half_written(site: Site) -> None:
    lasting = f"r1.c1.1.{int(time.time()) + 3600}.opening"
    for name in (lasting, f".r1.c2.1.{int(time.time()) + 3600}.opening.new", "r1.c3.1.2.opening", "stray"):
        (site.state.openings / name).write_bytes(b"sealed")
    with site.running():
        until(lambda: [path.name for path in site.state.openings.iterdir()] == [lasting])


def test_a_running_daemon_removes_an_opening_when_its_window_ends(site: Site) -> None:
    with site.running() as daemon:
        ending = site.state.openings / f"r1.c1.1.{int(time.time()) + 2}.opening"
        ending.write_bytes(b"sealed")
        daemon._opening_ends = None
        until(lambda: not ending.exists(), 20)


def test_an_order_for_a_record_that_is_not_here_is_answered_too(site: Site) -> None:
    """It was erased before, and the authority did not hear of it."""
    site.authority.on("POST", "/v1/profiles/r7/erased", lambda _: b"{}")
    daemon = site.daemon()
    daemon.answerer.erase("r7")
    daemon.answerer.link.close()
    assert site.authority.seen("/v1/profiles/r7/erased")
    assert profiles(site) != []


def test_a_damaged_record_is_erased_all_the_same(site: Site) -> None:
    daemon = site.daemon()
    answerer = daemon.answerer
    next(site.state.profiles.glob("*.record")).write_bytes(b"garbage")
    assert Eraser(answerer.vault, site.gate, None, answerer.openings).erase("r1") == []  # type: ignore[arg-type]
    answerer.link.close()
    assert profiles(site) == []


def lock(site: Site) -> None:
    daemon = site.daemon()
    key = daemon.answerer.vault.header("r1").key
    with site.gate.use() as enclave:
        for _ in range(PIN_LIMIT):
            with pytest.raises(AuthorisationFailed):
                key.sign(enclave, bytes(32), bytes(32), bytes(32))
    daemon.answerer.link.close()


def test_a_locked_key_is_opened_by_the_authority_before_the_challenge_begins(site: Site) -> None:
    lock(site)
    daemon = site.daemon()
    guard = daemon.answerer.vault.header("r1").key.guard
    assert guard is not None

    def grant(body: bytes) -> ResetGrant:
        nonce = decode(body, ResetRequest).nonce
        known = Guard("r1", site.holder.point, guard.change[:65])
        message = reset_message(nonce, guard.public, known, PIN_LIMIT)
        return ResetGrant(signature=raw_signature(site.holder.approval_key, message))

    site.authority.on("POST", "/v1/profiles/r1/reset", grant)
    assert daemon.answerer.answer(summons(), lambda *_: None) == VERDICT
    daemon.answerer.link.close()
    assert site.authority.seen("/v1/challenges/c1/evidence")


def test_a_locked_key_that_nobody_opens_begins_nothing_and_the_person_is_told(site: Site) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(403, ErrorCode.TOO_MANY_TRIES, "the profile key is locked", "Ask an operator to unlock it.")

    lock(site)
    site.authority.on("POST", "/v1/profiles/r1/reset", refuse)
    daemon = site.daemon()
    assert daemon.answerer.answer(summons(), lambda *_: None) is None
    daemon.answerer.link.close()
    assert site.authority.seen("/v1/challenges/c1/begin") == []
    assert "unlock" in site.prompter.results[-1].reason
