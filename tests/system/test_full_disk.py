"""An authority whose disk is full: it says so, keeps what it had, and goes on when there is room."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.errors import AuthorityRefused
from authority.audit import verify_log
from protocol.messages import Outcome
from protocol.problems import ErrorCode
from simulators.lab.insider import Insider
from simulators.lab.world import World
from tests.system.conftest import POLICY, STILL
from tests.system.full_disk import SmallDisk, small_disk
from tests.system.harness import Site, code_of, name_for, refused

pytestmark = pytest.mark.system


@pytest.fixture
def cramped(folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Site, SmallDisk]]:
    """An authority whose state lies on a disk of its own."""
    where = folder / name_for(request.node.name)
    with small_disk(where / "authority" / "state", "3m") as disk, World(where, [], POLICY, None, STILL) as world:
        world.raise_authority()
        yield Site(world), disk


def unavailable(call: Callable[[], object]) -> None:
    """The authority cannot do this now, and says that it may be tried again."""
    with pytest.raises(AuthorityRefused) as caught:
        call()
    assert code_of(caught.value) is ErrorCode.UNAVAILABLE
    assert caught.value.problem.status == 503
    assert caught.value.temporary
    assert "Try again" in caught.value.remedy


def test_nothing_is_half_written_and_nothing_is_lost(
    cramped: tuple[Site, SmallDisk], insider: Callable[[Site, str], Insider]
) -> None:
    site, disk = cramped
    node = insider(site, "node-f").join().enrol()
    assert node.answer().outcome is Outcome.ACCEPTED
    activation = node.begin()
    evidence = node.evidence(node.claims(activation))
    before, mark = node.standing(), site.since()

    disk.fill()
    log = site.authority.folder / "authority.log"
    unavailable(lambda: _until_refused(node, activation.challenge_id, evidence))
    said = refused("keyvigil-authority", "node", "token", "--name", "n2", "--state", str(site.authority.state))
    assert "cannot write its database" in said.error
    site.world.check()
    assert "disk is full" in log.read_text()

    disk.free()
    verdict = node.submit(evidence, activation.challenge_id)
    assert verdict.outcome is Outcome.ACCEPTED
    after = node.standing()
    assert after["answered"] == before["answered"] + 1
    accepted = mark.audits("presentation", challenge=activation.challenge_id)
    assert [each["data"]["kind"] for each in accepted] == ["accepted"]
    assert mark.audits("join-token", name="n2") == []
    assert site.token("n2")
    _is_sound(site)


def _until_refused(node: Insider, challenge_id: str, evidence: object) -> None:
    """Fill what room the database still has of its own, then answer."""
    for _ in range(2000):
        node.client.nonce(node.identity.node_id)
    node.submit(evidence, challenge_id)


def _is_sound(site: Site) -> None:
    store, _rt = site.library()
    try:
        assert store.run(verify_log).intact
    finally:
        store.close()
    with closing(sqlite3.connect(site.authority.state / "authority.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_authority_that_starts_on_a_full_disk_waits_for_room(cramped: tuple[Site, SmallDisk]) -> None:
    site, disk = cramped
    site.authority.server.kill()
    disk.fill()
    site.authority.start()
    said = refused("keyvigil-authority", "network", "create", "n2", "--state", str(site.authority.state))
    assert "cannot write its database" in said.error
    assert "Try again" in said.remedy
    site.world.check()
    disk.free()
    site.operator.post("/v1/networks", {"name": "n2"})
    assert [each["name"] for each in site.operator.get("/v1/networks")] == ["lab", "n2"]
    _is_sound(site)


def test_an_authority_is_not_set_up_by_halves(folder: Path) -> None:
    with small_disk(folder / "no-room", "64k") as disk:
        disk.fill()
        said = refused("keyvigil-authority", "init", "--name", "127.0.0.1", "--state", str(disk.folder / "state"))
        assert "space" in said.error
        assert not (disk.folder / "state" / "authority.toml").exists()
