"""No replica decides by what another has replaced: policy, generation, key-encryption key; and a failover is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection, select, update

from authority import policies, scheduler
from authority.keys import FileKek, fencing
from authority.replicas.following import Following
from authority.runtime import Runtime
from authority.store import Store, StoreUnavailable, schema
from authority.store.postgresql import Place, place_of
from authority.trust import parse_policy
from tests.authority.challenges.answers import challenge
from tests.authority.replicas.pair import Pair

STRICT = parse_policy('version = "strict"\n[challenge]\ngrace_s = 77\n')


class Replica:
    """A runtime that follows the database through a store of its own."""

    def __init__(self, pair: Pair, store: Store, rt: Runtime) -> None:
        self.store, self.rt = store, rt
        self.following = Following(rt)
        self.clock = pair.sites[0].clock
        store.before = self.following

    def look(self) -> None:
        self.store.run(lambda conn: None)

    def fail_over(self, *, synchronous: bool) -> None:
        """As if the connection before this one had led to another timeline."""
        self.look()
        self.following._place = Place("0000000A", synchronous)


@pytest.fixture
def replicas(pair: Pair) -> tuple[Replica, Replica]:
    first, second = pair.sites

    def begin(conn: Connection) -> None:
        fencing.settle(conn, None, first.clock)
        conn.execute(schema.meta.insert().values(key="kek_id", value=first.kek.kek_id))
        policies.note(conn, first.policy, "authority", first.clock)

    first.read(begin)
    return Replica(pair, first.store, first.rt), Replica(pair, second.store, second.rt)


def test_a_policy_that_one_adopts_is_the_others_at_its_next_decision(replicas: tuple[Replica, Replica]):
    one, two = replicas
    two.look()
    one.store.run(lambda conn: policies.adopt(conn, one.rt, STRICT, "olga", one.clock))
    assert two.rt.policy.version != "strict"
    seen = two.store.run(lambda conn: two.rt.policy)
    assert (seen.sha256, seen.challenge.grace_s) == (STRICT.sha256, 77)


def test_a_generation_that_one_begins_is_the_others_at_its_next_decision(replicas: tuple[Replica, Replica]):
    one, two = replicas
    one.store.run(lambda conn: fencing.begin_generation(conn, 5, "test", "olga", one.clock))
    two.look()
    assert two.rt.generation == 5


def test_who_lacks_the_key_in_force_decides_nothing(replicas: tuple[Replica, Replica]):
    one, two = replicas
    two.look()
    row = schema.meta
    one.store.before = None
    one.store.run(lambda conn: conn.execute(update(row).where(row.c.key == "kek_id").values(value="other")))
    with pytest.raises(StoreUnavailable, match="another key-encryption key"):
        two.look()
    two.following._rt = replace(two.rt, kek=FileKek(b"x" * 32))
    with pytest.raises(StoreUnavailable):
        two.look()


def test_a_failover_that_may_have_lost_commits_begins_a_generation_once(replicas: tuple[Replica, Replica]):
    one, two = replicas
    for each in replicas:
        each.fail_over(synchronous=False)
    one.look()
    two.look()
    assert (one.rt.generation, two.rt.generation) == (2, 2)
    kinds = one.store.run(lambda conn: [*conn.scalars(select(schema.audit.c.kind))])
    assert kinds.count("generation-begun") == 1


def test_a_failover_to_a_standby_that_has_everything_changes_no_key(replicas: tuple[Replica, Replica]):
    one, _ = replicas
    one.fail_over(synchronous=True)
    one.following.note(one.store.run(fencing.issued))
    one.following._place = Place("0000000A", True)
    one.look()
    assert one.rt.generation == 1


def test_a_standby_that_lacks_what_was_issued_is_found_out(replicas: tuple[Replica, Replica]):
    one, _ = replicas
    one.fail_over(synchronous=True)
    one.following.note(10_000)
    one.look()
    assert one.rt.generation == 2


def test_an_activation_that_a_failover_cut_off_is_undecided_not_failed(pair: Pair):
    first, _ = pair.sites
    first.run(scheduler.sweep)
    for cut_off, wanted in ((False, "failed"), (True, "undecided")):
        challenge_id = first.summon(pair.node.node_id)
        pair.node.begin(first, challenge_id)
        if cut_off:
            first.read(lambda conn: scheduler.note_cut_off(conn, first.clock))
        for _ in range(4):  # often enough that it is no outage
            first.clock += first.policy.scheduler.outage_s * 0.6
            first.run(scheduler.sweep)
        assert challenge(first, challenge_id).state == wanted
        first.clock += 1


def test_a_place_is_asked_for_once_per_connection(stores: tuple[Store, Store]):
    first, again = (stores[0].run(place_of) for _ in range(2))
    assert first is again
    assert (len(first.timeline), first.synchronous) == (8, False)
