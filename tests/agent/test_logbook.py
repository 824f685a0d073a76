"""The node keeps the newest checkpoint of the audit log, and refuses a log that was rewritten or cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from agent.cli import run
from agent.client import AuthorityClient
from agent.enclave import EnclaveGate
from agent.identity import LogTrust
from agent.logbook import UNPROVEN_S, LogBook
from agent.state import StateDirectory
from protocol.checkpoint import Checkpoint, origin_of, sign_checkpoint
from protocol.codec import ProtocolViolation, decode
from protocol.merkle import consistency_proof, root
from protocol.messages import DeliveryAck, LogCheckpoint, LogConsistency
from protocol.problems import ErrorCode
from tests.agent.daemon_site import STATUS, Site, make_site, until
from tests.agent.scripted_authority import Refusal, served
from tests.agent.world import bundle
from tests.protocol.test_merkle import Tree, sample


@dataclass
class Log:
    """An authority's log, honest or not: `records` is what it holds now."""

    site: Site
    records: list[bytes]
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def checkpoint(self, size: int | None = None) -> LogCheckpoint:
        ca = self.site.authority.ca
        size = len(self.records) if size is None else size
        said = Checkpoint(origin_of(ca.certificate.public_bytes(Encoding.DER)), size, root(size, self.tree.node))
        certificate = ca.log(self.key.public_key()).public_bytes(Encoding.DER)
        return LogCheckpoint(note=sign_checkpoint(said, self.key), certificate=certificate)

    @property
    def tree(self) -> Tree:
        return Tree(self.records)

    def serve(self) -> None:
        """Answer for proofs by what the log holds now."""
        for first in range(1, 40):
            for second in range(first, 40):
                path = f"/v1/log/consistency?from={first}&to={second}"
                self.site.authority.on("GET", path, lambda _, pair=(first, second): self._prove(*pair))

    def _prove(self, first: int, second: int) -> LogConsistency:
        if second > len(self.records):
            raise Refusal(404, ErrorCode.NOT_FOUND)
        return LogConsistency(hashes=consistency_proof(first, second, self.tree.node))


@pytest.fixture
def site(tmp_path: Path, state: StateDirectory, gate: EnclaveGate) -> Iterator[Site]:
    with served(tmp_path) as authority:
        yield make_site(authority, state, gate)


@pytest.fixture
def log(site: Site) -> Log:
    made = Log(site, sample(5))
    made.serve()
    return made


@pytest.fixture
def client(site: Site) -> Iterator[AuthorityClient]:
    daemon = site.daemon()
    yield daemon.answerer.link.client
    daemon.answerer.link.close()


@pytest.fixture
def book(site: Site) -> LogBook:
    return LogBook(site.state, lambda: LogTrust.of_ca(site.authority.ca.pem), time.time)


def test_a_growing_log_is_followed(log: Log, book: LogBook, client: AuthorityClient) -> None:
    for more in (0, 1, 7, 20):
        log.records += sample(more, "more")
        assert book.take(log.checkpoint(), client).size == len(log.records)
    assert not book.forked
    again = LogBook(log.site.state, lambda: LogTrust.of_ca(log.site.authority.ca.pem), time.time)
    assert again.read().size == 33
    assert log.site.state.log.stat().st_mode & 0o777 == 0o600


def test_a_late_older_checkpoint_changes_nothing(log: Log, book: LogBook, client: AuthorityClient) -> None:
    book.take(log.checkpoint(), client)
    assert book.take(log.checkpoint(3), client).size == 5
    assert not book.forked


def test_a_rewritten_log_is_refused_for_good(log: Log, book: LogBook, client: AuthorityClient) -> None:
    held = book.take(log.checkpoint(), client)
    honest = [*log.records, b"six"]
    log.records[2] = b"rewritten"
    log.records.append(b"six")
    refused = book.take(log.checkpoint(), client)
    assert (refused.size, refused.root) == (held.size, held.root)
    assert book.forked
    log.records = honest
    book.take(log.checkpoint(), client)
    assert book.forked
    assert LogBook(log.site.state, lambda: LogTrust.of_ca(log.site.authority.ca.pem), time.time).forked


def test_two_checkpoints_of_one_size_are_a_fork(log: Log, book: LogBook, client: AuthorityClient) -> None:
    book.take(log.checkpoint(), client)
    log.records[4] = b"rewritten"
    assert "rewritten" in book.take(log.checkpoint(), client).alarm


def test_a_shrunken_log_is_refused(log: Log, book: LogBook, client: AuthorityClient) -> None:
    """A restored backup of the authority looks the same; `log accept` is for that."""
    book.take(log.checkpoint(), client)
    del log.records[3:]
    assert "lost records" in book.take(log.checkpoint(), client).alarm
    book.accept()
    assert book.take(log.checkpoint(), client).size == 3
    assert not book.forked


def test_a_split_view_is_seen_by_whoever_compares(log: Log, book: LogBook, client: AuthorityClient) -> None:
    """Each node alone is content with its own view; the two checkpoints side by side are the proof."""
    elsewhere = Log(log.site, [*log.records[:2], b"for the others", *log.records[3:], b"more"], key=log.key)
    book.take(log.checkpoint(), client)
    assert not book.forked
    log.records = elsewhere.records
    assert book.take(elsewhere.checkpoint(), client).alarm


def test_who_cannot_be_asked_only_owes_the_proof(log: Log, book: LogBook, client: AuthorityClient) -> None:
    book.take(log.checkpoint(), client)
    log.records += sample(3)
    for refusal in (Refusal(503, ErrorCode.UNAVAILABLE), Refusal(401, ErrorCode.UNAUTHENTICATED)):

        def refuse(_: bytes, refusal: Refusal = refusal) -> None:
            raise refusal

        log.site.authority.on("GET", "/v1/log/consistency?from=5&to=8", refuse)
        state = book.take(log.checkpoint(), client)
        assert (state.size, state.alarm) == (5, "")
    now = time.time()
    assert not state.trouble(now)
    assert state.trouble(now + UNPROVEN_S + 5)
    log.serve()
    state = book.take(log.checkpoint(), client)
    assert (state.size, state.unproven_since) == (8, None)


def test_only_the_logs_own_signature_counts(log: Log, book: LogBook, client: AuthorityClient) -> None:
    book.take(log.checkpoint(), client)
    sound = log.checkpoint()
    stranger = Log(log.site, [b"x"], key=Ed25519PrivateKey.generate()).checkpoint()
    forged = LogCheckpoint(note=stranger.note, certificate=sound.certificate)
    with pytest.raises(ProtocolViolation):
        book.take(forged, client)
    assert not book.forked


def test_a_refused_log_stops_new_keys_and_shows_in_the_status(
    log: Log, site: Site, book: LogBook, client: AuthorityClient, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        f'[node]\nname = "n1"\nauthority = "{site.authority.url}"\nstate_dir = "{site.state.root}"\n'
        f'[devices.enclave]\ndriver = "tpm2"\nsha256 = "{"0" * 64}"\n'
    )
    book.take(log.checkpoint(), client)
    assert run(["log", "show", "--config", str(path), "--json"]) == 0
    log.records[0] = b"rewritten"
    site.authority.on_connect = [STATUS, log.checkpoint()]
    with site.running():
        until(lambda: book.forked)
        site.authority.push(site.kos.deliver(bundle(expires_at=time.time() + 60), 1))
        until(lambda: bool(site.authority.seen("/v1/deliveries/1/ack")))
    ack = decode(site.authority.seen("/v1/deliveries/1/ack")[0], DeliveryAck)
    assert not ack.installed
    assert "audit log" in ack.error
    capsys.readouterr()
    assert run(["log", "show", "--config", str(path), "--json"]) == 1
    assert "rewritten" in json.loads(capsys.readouterr().out)["trouble"]
    assert run(["log", "accept", "--config", str(path), "--json"]) == 0
    assert not book.forked
