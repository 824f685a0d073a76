"""Generations: a restored database is noticed, and after a restore no key meets the same SPI again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select

from authority import audit
from authority.config import AuthorityConfig, Listener, Site
from authority.keys import KekError, add_member, create_network, reconcile, tick
from authority.keys.fencing import Fence, FenceFile, begin_generation, issued, renew_all, settle
from authority.runtime import Push
from authority.service import Authority, initialise, keep_house, open_authority
from authority.store import schema
from protocol.delivery import Direction
from protocol.levels import ResourceClass
from protocol.messages import DeliveryEvent
from tests.authority.world import World, open_world
from tests.databases import of_sqlite

NAMES = ("vault", "web", "patch", "mail")


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as made:
        yield made


@dataclass
class Senders:
    """What every node sends under: a key that it installs begins with sequence number 0."""

    world: World
    held: dict[tuple[str, str], tuple[bytes, int]] = field(default_factory=dict)
    begun: list[tuple[bytes, int]] = field(default_factory=list)
    newest: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, pushes: list[Push]) -> None:
        for node_id, event in self.world.answered(pushes):
            order = (self.world.generation, event.number) if isinstance(event, DeliveryEvent) else (0, 0)
            if order <= self.newest.get(node_id, (0, 0)):
                continue  # as agents do: older generations and numbers are refused
            self.newest[node_id] = order
            self._install(node_id, self.world.open((node_id, event)))

    def _install(self, node_id: str, bundle) -> None:
        outbound = {one.peer: (one.key, one.spi) for one in bundle.associations if one.direction is Direction.OUTBOUND}
        for peer, pair in outbound.items():
            if self.held.get((node_id, peer)) != pair:
                self.begun.append(pair)
        self.held = {place: pair for place, pair in self.held.items() if place[0] != node_id}
        self.held |= {(node_id, peer): pair for peer, pair in outbound.items()}

    def reboot(self) -> None:
        """The nodes come back from images as well: neither keys nor delivery numbers are left."""
        self.held, self.newest = {}, {}

    @property
    def repeated(self) -> int:
        return len(self.begun) - len({*self.begun})


def live(world: World, senders: Senders, hours: int) -> None:
    """What a network goes through: a node falls and comes back, epochs and leases pass."""
    web = world.conn.scalar(select(schema.node.c.id).where(schema.node.c.name == "web"))
    for hour in range(hours):
        score = 600 if hour % 5 == 1 else 900
        if world.row(web).score != score:
            world.set_node(web, score=score)
            senders.take(reconcile(world.conn, world.rt, "core", world.clock, advance=frozenset({web})))
        world.clock += 3600
        senders.take(tick(world.conn, world.rt, world.clock))


def restored(*, fenced: bool, fresh: bool) -> Senders:
    """A network whose authority comes back from a backup while its nodes went on; what the nodes sent under."""
    with open_world() as world:
        senders = Senders(world)
        create_network(world.conn, world.rt, "core", world.clock)
        for number, name in enumerate(NAMES, 1):
            node_id = world.node(name, state="active", score=900)
            where = f"10.7.0.{number}"
            senders.take(add_member(world.conn, world.rt, "core", node_id, where, ResourceClass.NORMAL, world.clock))
        assert settle(world.conn, None, world.clock).generation == 1
        live(world, senders, 3)
        world.conn.commit()
        raw = world.conn.connection.driver_connection
        backup, randomness = raw.serialize(), world.seed.getstate()
        live(world, senders, 10)
        fence = Fence(world.generation, issued(world.conn))
        world.conn.commit()
        raw.deserialize(backup)
        senders.reboot()
        if not fresh:
            world.seed.setstate(randomness)
        if fenced:
            world.generation = settle(world.conn, fence, world.clock).generation
            senders.take(renew_all(world.conn, world.rt, world.clock))
        live(world, senders, 16)
        return senders


@of_sqlite
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "cloned-randomness"])
def test_after_a_restore_no_key_meets_the_same_spi_again(fresh: bool) -> None:
    senders = restored(fenced=True, fresh=fresh)
    assert senders.repeated == 0
    assert len(senders.begun) > 40


@of_sqlite
def test_control_without_generation_and_freshness_keys_come_again() -> None:
    assert restored(fenced=False, fresh=False).repeated > 0


def test_a_new_generation_reaches_every_node_with_new_keys(world: World) -> None:
    senders = Senders(world)
    create_network(world.conn, world.rt, "core", world.clock)
    for number, name in enumerate(NAMES, 1):
        node_id = world.node(name, state="active", score=900)
        where = f"10.7.0.{number}"
        senders.take(add_member(world.conn, world.rt, "core", node_id, where, ResourceClass.NORMAL, world.clock))
    settle(world.conn, None, world.clock)
    before = {*senders.held.values()}
    world.generation = begin_generation(world.conn, 2, "restored", "olga", world.clock)
    senders.take(renew_all(world.conn, world.rt, world.clock))
    assert len(senders.held) == 12
    assert not before & {*senders.held.values()}
    assert world.alerts() == [("warning", "generation-begun")]


@pytest.mark.parametrize(
    ("fence", "generation", "cause"),
    [
        (Fence(1, 0), 1, ""),
        (Fence(1, 10**6), 2, "restored from a backup"),
        (Fence(3, 0), 4, "restored from a backup"),
        (None, 2, "is missing"),
    ],
)
def test_a_database_behind_its_fence_begins_a_generation(
    world: World, fence: Fence | None, generation: int, cause: str
) -> None:
    assert settle(world.conn, None, world.clock).cause == "", "the first opening is no restore"
    opened = settle(world.conn, fence, world.clock)
    assert opened.generation == generation
    assert cause in opened.cause and bool(opened.cause) is bool(cause)


def site_in(folder: Path) -> Site:
    return Site(folder, AuthorityConfig(["localhost"], Listener("127.0.0.1", 1), Listener("127.0.0.1", 2)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fence") / "state"
    folder.mkdir(mode=0o700)
    (folder / "policy.toml").write_text('version = "t"\n')
    initialise(site_in(folder), ["localhost"])
    return folder


class TestStateFolder:
    @pytest.fixture
    def folder(self, made: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(made, tmp_path / "state"))

    def opened(self, folder: Path, work=lambda authority: None) -> int:
        authority = open_authority(site_in(folder))
        work(authority)
        generation = authority.runtime.generation
        authority.store.close()
        return generation

    @staticmethod
    def advance(authority: Authority) -> None:
        authority.store.run(lambda conn: create_network(conn, authority.runtime, f"n{random.random():.9f}"[:20], 1.0))
        authority.store.run(append_record)
        authority.store.run(lambda conn: keep_house(conn, authority))

    def test_opening_again_is_no_restore(self, folder: Path) -> None:
        assert [self.opened(folder, self.advance) for _ in range(3)] == [1, 1, 1]

    def test_a_restored_database_begins_a_generation_with_versions_of_its_own(self, folder: Path) -> None:
        self.opened(folder, self.advance)
        shutil.copy(folder / "authority.db", folder / "backup.db")
        self.opened(folder, self.advance)
        shutil.copy(folder / "backup.db", folder / "authority.db")
        assert self.opened(folder) == 2
        assert self.opened(folder) == 2, "once"

    def test_a_folder_without_its_fence_begins_one(self, folder: Path) -> None:
        (folder / "fence.json").unlink()
        assert self.opened(folder) == 2
        assert (folder / "fence.json").stat().st_mode & 0o777 == 0o600

    def test_a_damaged_fence_is_named_and_what_to_do(self, folder: Path) -> None:
        (folder / "fence.json").write_text("{")
        with pytest.raises(KekError, match=r"fence\.json") as caught:
            open_authority(site_in(folder))
        assert "Remove it" in caught.value.remedy

    def test_a_fence_is_written_when_something_was_issued_and_only_then(self, folder: Path, tmp_path: Path) -> None:
        authority = open_authority(site_in(folder))
        fence = FenceFile(tmp_path)
        authority.store.run(lambda conn: fence.keep(conn, 1))
        first = fence.read()
        (tmp_path / "fence.json").unlink()
        authority.store.run(lambda conn: fence.keep(conn, 1))
        assert fence.read() is None
        authority.store.run(append_record)
        authority.store.run(lambda conn: fence.keep(conn, 1))
        assert fence.read() == Fence(1, first.mark + 1)
        authority.store.close()


def append_record(conn) -> None:
    audit.append(conn, "network", "olga", None, {}, 1.0)
