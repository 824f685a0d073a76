"""Checkpoints: signed as the log grows, told to nodes and sinks, proven; and the migration of the chain of before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import create_engine, select

from authority import audit, checkpoints
from authority.pki import CertificateAuthority, PkiError
from authority.refusal import Refused
from authority.runtime import Runtime
from authority.store import Store, schema
from protocol.checkpoint import log_key, open_checkpoint, origin_of
from protocol.merkle import includes, is_consistent, leaf_hash
from protocol.messages import LogCheckpoint
from tests.authority.world import World, open_world


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path_factory.mktemp("site") / "ca", ["localhost"], 1_700_000_000.0)


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as world:
        yield world


def signing(world: World, ca: CertificateAuthority) -> Runtime:
    return replace(world.rt, log=ca.log_signer(world.clock))


def record(world: World, count: int = 1) -> None:
    for index in range(count):
        audit.append(world.conn, "x", "authority", None, {"index": index}, world.clock)


def issue(world: World, ca: CertificateAuthority) -> list[LogCheckpoint]:
    pushes = checkpoints.issue_if_due(world.conn, signing(world, ca), world.clock)
    return [event for _, event in pushes if isinstance(event, LogCheckpoint)]


def opened(ca: CertificateAuthority, event: LogCheckpoint) -> tuple[int, bytes]:
    origin = origin_of(ca.certificate.public_bytes(Encoding.DER))
    said = open_checkpoint(event.note, origin, log_key(event.certificate, ca.certificate))
    return said.size, said.root


def test_a_checkpoint_comes_in_time_if_the_log_grew(world: World, ca: CertificateAuthority) -> None:
    world.node("a")
    world.node("gone", state="retired")
    assert issue(world, ca) == []
    record(world, 3)
    [first] = issue(world, ca)
    assert opened(ca, first)[0] == 3
    assert world.alerts() == [("info", "log-checkpoint")]
    record(world)
    assert issue(world, ca) == []
    world.clock += 301
    assert opened(ca, issue(world, ca)[0])[0] == 4
    world.clock += 301
    assert issue(world, ca) == []


def test_many_records_do_not_wait(world: World, ca: CertificateAuthority) -> None:
    world.node("a")
    record(world)
    issue(world, ca)
    record(world, 1000)
    assert opened(ca, issue(world, ca)[0])[0] == 1001


def test_a_clock_that_went_back_does_not_stop_checkpoints(world: World, ca: CertificateAuthority) -> None:
    world.node("a")
    record(world)
    issue(world, ca)
    world.clock -= 86400
    record(world)
    assert len(issue(world, ca)) == 1


def test_one_checkpoint_continues_the_other(world: World, ca: CertificateAuthority) -> None:
    world.node("a")
    record(world, 5)
    first = opened(ca, issue(world, ca)[0])
    record(world, 9)
    world.clock += 301
    second = opened(ca, issue(world, ca)[0])
    proof = checkpoints.consistency(world.conn, first[0], second[0]).hashes
    assert is_consistent(*first, *second, proof)
    assert audit.verify_log(world.conn).checkpoints == 2
    for pair in ((0, 3), (5, 99), (9, 5)):
        with pytest.raises(Refused):
            checkpoints.consistency(world.conn, *pair)


def test_a_record_is_proven_by_hashes_alone(world: World, ca: CertificateAuthority) -> None:
    record(world, 11)
    found = checkpoints.inclusion(world.conn, signing(world, ca), 7, world.clock)
    leaf, proof = leaf_hash(bytes.fromhex(found["record"])), [bytes.fromhex(each) for each in found["proof"]]
    assert includes(leaf, 6, found["size"], proof, bytes.fromhex(found["root"]))
    assert not includes(leaf, 5, found["size"], proof, bytes.fromhex(found["root"]))
    with pytest.raises(Refused, match="no record"):
        checkpoints.inclusion(world.conn, signing(world, ca), 12, world.clock)


def test_the_logs_key_stays_and_belongs_to_its_certificate(ca: CertificateAuthority, tmp_path: Path) -> None:
    first, second = ca.log_signer(1.7e9), ca.log_signer(1.8e9)
    assert first.certificate == second.certificate
    assert x509.load_der_x509_certificate(first.certificate).public_key() == second.key.public_key()
    assert (ca.folder / "log.key").stat().st_mode & 0o777 == 0o600
    other = CertificateAuthority.create(tmp_path / "ca", ["localhost"], 1.7e9)
    other.log_signer(1.7e9)
    (other.folder / "log.pem").write_bytes((ca.folder / "log.pem").read_bytes())
    with pytest.raises(PkiError):
        other.log_signer(1.7e9)


def chained_database(path: Path, *, tamper: str = "") -> None:
    """A database as the version before left it, with a chain of three records."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as conn:
        config = Config()
        config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
        config.attributes["connection"] = conn
        command.upgrade(config, "0003")
        rows = json.loads((Path(__file__).parent / "chain_of_before.json").read_text())
        for row in rows["audit"]:
            names = ", ".join(row)
            conn.exec_driver_sql(f"INSERT INTO audit ({names}) VALUES ({', '.join('?' * len(row))})", (*row.values(),))
        conn.exec_driver_sql("INSERT INTO meta VALUES ('audit-head', ?)", (rows["head"],))
        if tamper:
            conn.exec_driver_sql(tamper)
        conn.commit()
    engine.dispose()


def migrated(path: Path) -> tuple[audit.LogReport, dict[str, object], list[str]]:
    store = Store(f"sqlite:///{path}")
    row = schema.audit
    newest = store.run(lambda conn: conn.execute(select(row).order_by(row.c.seq.desc())).first())
    kinds = store.run(lambda conn: [*conn.scalars(select(row.c.kind).order_by(row.c.seq))])
    report = store.run(audit.verify_log)
    store.close()
    assert newest is not None
    return report, json.loads(newest.data), kinds


def test_rows_of_the_chain_become_leaves(tmp_path: Path) -> None:
    chained_database(tmp_path / "a.db")
    report, said, kinds = migrated(tmp_path / "a.db")
    assert report.intact
    assert kinds == ["initialised", "join-token", "node-ban", "log-migrated"]
    assert (said["records"], said["broken_at"]) == (3, None)


@pytest.mark.parametrize(
    ("tamper", "at"),
    [
        ("UPDATE audit SET actor = 'somebody' WHERE seq = 2", 2),
        ("DELETE FROM audit WHERE seq = 2", 3),
        ("DELETE FROM audit WHERE seq = 3", 3),
    ],
)
def test_a_broken_chain_is_not_laundered(tmp_path: Path, tamper: str, at: int) -> None:
    chained_database(tmp_path / "a.db", tamper=tamper)
    report, said, _ = migrated(tmp_path / "a.db")
    assert report.intact
    assert said["broken_at"] == at
