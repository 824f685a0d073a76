"""From joining to the verdict and to what a group is told of it: no request reads the whole fleet."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from authority import challenges, groups, scheduler
from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.store import Store
from authority.trust import parse_policy
from drivers.software_enclave import SoftwareEnclaveDriver
from protocol.digests import attest_digest, group_digest
from protocol.messages import AttestRequest, AttestSubmission, GroupSubmission, GroupSummons, Outcome
from tests.authority.nodes import Site, random_bytes
from tests.authority.statement_nodes import StatementMachine
from tests.authority.test_growth import OF_REQUESTS, TABLES
from tests.databases import of_sqlite

POLICY = parse_policy('version = "g"\n[enclaves]\nallowed = ["software"]')
STEPS = ("join", "enrol", "begin", "evidence", "group", "attest", "check in", "deliveries")
COMMON = re.compile(r"INDEX \w+ \((admin|state|tier|kind)=\?\)")
GROWING = (*TABLES, "challenge_group", "group_member", "delivery", "replay_tag", "join_token")


class Plans:
    """How SQLite does what it is asked for, by step."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = defaultdict(list)
        self.step = ""

    def note(self, conn: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool) -> None:
        if self.step and statement.startswith(("SELECT", "UPDATE", "DELETE")):
            raw = conn.connection.cursor()
            raw.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
            self.of[self.step] += [row[3] for row in raw.fetchall()]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plans]:
    folder, found = tmp_path_factory.mktemp("growth"), Plans()
    ca = CertificateAuthority.create(folder / "ca", ["localhost"], time.time())
    store = Store(f"sqlite:///{folder / 'authority.db'}")
    site = Site(store, ca, FileKek(random_bytes(32)), policy=POLICY)
    event.listen(Engine, "before_cursor_execute", found.note)
    try:
        live(site, folder, found)
    finally:
        event.remove(Engine, "before_cursor_execute", found.note)
        store.close()
    yield found


def live(site: Site, folder: Path, plans: Plans) -> None:
    """A sensor node and a member of its group, each step once."""
    enclaves = [SoftwareEnclaveDriver().open({"folder": str(folder / name)}) for name in ("desk", "rack")]
    desk, rack = (
        StatementMachine(each, enclave.__enter__()) for each, enclave in zip(("desk", "rack"), enclaves, strict=True)
    )
    plans.step = "join"
    desk.join(site)
    rack.join(site)
    plans.step = "enrol"
    desk.enrol(site)
    plans.step = ""
    site.read(lambda conn: groups.create(conn, "racks", desk.node_id, "operator", site.clock))
    site.read(lambda conn: groups.add(conn, "racks", rack.node_id, "operator", site.clock))
    challenge_id = site.summon(desk.node_id)
    plans.step = "begin"
    activation = desk.begin(site, challenge_id)
    site.clock += 8
    plans.step = "evidence"
    evidence = desk.evidence(desk.claims(activation))
    decided = site.run(challenges.submit_evidence, desk.node_id, desk.certificate, challenge_id, evidence)
    assert decided[0].outcome is Outcome.ACCEPTED
    summons = next(told for _, told in decided[1] if isinstance(told, GroupSummons))
    plans.step = "group"
    digest = group_digest(summons.challenge_id, summons.nonce, summons.evidence_sha256)
    shared = GroupSubmission(quote=rack.quote(digest))
    assert site.run(groups.answer, rack.node_id, summons.challenge_id, shared)[0].outcome is Outcome.ACCEPTED
    plans.step = ""
    asked = site.run(scheduler.sweep)
    nonce = next(told.nonce for node, told in asked if node == desk.node_id and isinstance(told, AttestRequest))
    said = AttestSubmission(nonce=nonce, quote=desk.quote(attest_digest(desk.node_id, nonce)))
    plans.step = "attest"
    assert site.run(challenges.attest, desk.node_id, said)[0].outcome is Outcome.ACCEPTED
    plans.step = "check in"
    site.run(scheduler.check_in, desk.node_id)
    plans.step = "deliveries"
    site.read(lambda conn: challenges.deliveries_after(conn, desk.node_id, 0))
    for enclave in enclaves:
        enclave.__exit__(None, None, None)


@of_sqlite
@pytest.mark.parametrize("step", STEPS)
def test_no_request_reads_a_whole_table(plans: Plans, step: str) -> None:
    assert plans.of[step]
    assert not [each for each in plans.of[step] if each.startswith("SCAN") and each.split()[1] in GROWING]


@of_sqlite
@pytest.mark.parametrize("step", STEPS)
def test_no_request_goes_by_what_a_whole_fleet_has_in_common(plans: Plans, step: str) -> None:
    """One administrator may be enrolled at every node, and most nodes are in one state."""
    assert not [each for each in plans.of[step] if COMMON.search(each)]


@of_sqlite
@pytest.mark.parametrize("index", sorted(OF_REQUESTS))
def test_every_index_of_theirs_is_there_for_something(plans: Plans, index: str) -> None:
    assert any(index in step for steps in plans.of.values() for step in steps)
