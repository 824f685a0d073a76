"""A new CA without a flag day: nodes that renew go over, one that does not is known and left behind only on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from agent.client import AuthorityClient
from agent.clocks import StoppableClock
from agent.config import ConnectionSection, parse_config
from agent.enclave import EnclaveGate
from agent.errors import AuthorityUnreachable
from agent.identity import Identity, IdentityStore, LogTrust, load_ca
from agent.joining import Joining, anonymous_connector
from agent.logbook import _certified_key
from agent.state import StateDirectory
from authority import ca_renewal
from authority.keys import FileKek
from authority.pki import CertificateAuthority, PkiError
from authority.planes import Hub, create_node_app, node_server
from authority.runtime import Refusal
from authority.store import Store
from authority.trust.policy import EnclaveRules
from protocol.codec import ProtocolViolation
from protocol.messages import NextCa
from protocol.next_ca import vouched_ca
from protocol.tokens import parse_join_token
from tests.agent.test_prover import OneEnclave
from tests.authority.nodes import Site, random_bytes
from tests.authority.planes.plane import HOST, listening
from tests.drivers.token_rigs import software_rig

NAMES = ["localhost", HOST]


@dataclass
class House:
    """An authority in `folder` that can be stopped and started again on one port, and its nodes."""

    folder: Path
    site: Site
    stack: ExitStack
    port: int = 0

    @property
    def ca(self) -> Path:
        return self.folder / "ca"

    @contextmanager
    def serving(self) -> Iterator[None]:
        site = self.site
        site.ca = CertificateAuthority.load(self.ca)
        app = create_node_app(site.store, site.rt, site.ca, [], [], Hub())
        with listening(node_server(app, site.ca, HOST, self.port)) as running:
            self.port = running.server.port
            yield

    def node(self, name: str) -> Joining:
        folder = self.folder / name
        folder.mkdir()
        rig = self.stack.enter_context(software_rig(folder))
        state, url = StateDirectory.open(folder / "state"), f"https://{HOST}:{self.port}"
        config = parse_config(
            f'[node]\nname = "{name}"\nstate_dir = "{state.root}"\nauthority = "{url}"\n'
            f'[devices.enclave]\ndriver = "x"\nsha256 = "{"0" * 64}"\n'.encode()
        )
        gate = EnclaveGate(state, rig.open, StoppableClock(threading.Event()))
        devices, connect = OneEnclave("software"), anonymous_connector(url, ConnectionSection(timeout_s=20.0))
        return Joining(config, devices, gate, IdentityStore(state), lambda: self.site.clock, connect)  # type: ignore[arg-type]

    def join(self, node: Joining) -> Identity:
        return node.join(parse_join_token(self.site.token(node.config.node.name)))

    def asks(self, node: Joining, identity: Identity) -> object:
        """A question that only a node with a good client certificate gets an answer to."""
        with AuthorityClient(f"https://{HOST}:{self.port}", node.store.tls_context(identity), 20.0) as client:
            return client.deliveries(0)

    def status(self) -> dict[str, object]:
        return self.site.read(lambda conn: ca_renewal.status(conn, self.ca))

    def activate(self, *, leave: bool = False) -> list[str]:
        now = self.site.clock
        return self.site.read(lambda conn: ca_renewal.activate(conn, self.ca, NAMES, "op", now, leave=leave))

    def retire(self, at: float) -> None:
        lifetime_s = self.site.policy.certificate.lifetime_s
        self.site.read(lambda conn: ca_renewal.retire(conn, self.ca, lifetime_s, "op", at))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    ca = CertificateAuthority.create(tmp_path / "ca", NAMES, time.time())
    ca.log_signer(time.time())
    store = Store(f"sqlite:///{tmp_path / 'authority.db'}")
    site = Site(store, ca, FileKek(random_bytes(32)))
    site.policy = msgspec.structs.replace(site.policy, enclaves=EnclaveRules(allowed=("software",)))
    with ExitStack() as stack:
        stack.callback(store.close)
        yield House(tmp_path, site, stack)


def test_nodes_that_renew_go_over_and_one_that_does_not_is_left_behind(house: House) -> None:
    with house.serving():
        kept, silent = house.node("kept"), house.node("silent")
        first, other = house.join(kept), house.join(silent)
        staged = ca_renewal.stage(house.ca, house.site.clock)
        assert house.status()["behind"] == ["kept", "silent"]
        both = kept.renew(first)
        assert both.ca == first.ca and load_ca(both.next_ca) and kept.store.load() == both
        assert house.status()["behind"] == ["silent"]
    with pytest.raises(Refusal, match="silent"):
        house.activate()
    assert house.activate(leave=True) == ["silent"]
    with house.serving():
        assert house.site.ca.ca_sha256 == staged
        assert house.asks(kept, both) == [], "its certificate of the old CA is still good"
        with pytest.raises(AuthorityUnreachable):
            house.asks(silent, other)
        moved = kept.renew(both)
        assert (moved.ca, moved.next_ca) == (both.next_ca, "")
        assert house.asks(kept, moved) == []
        again = house.site.token("silent")
        assert silent.join(parse_join_token(again), again=True).node_id == other.node_id
    assert_log_goes_on(house, first, moved)
    house_retires(house, kept, moved)


def assert_log_goes_on(house: House, first: Identity, moved: Identity) -> None:
    """The audit log has the name of before, and a key that the new CA certifies."""
    signer = house.site.ca.log_signer(house.site.clock)
    assert signer.origin == first.log_trust.origin == moved.log_trust.origin
    assert _certified_key(signer.certificate, moved.log_trust) == signer.key.public_key()
    with pytest.raises(ProtocolViolation):
        _certified_key(signer.certificate, LogTrust.of_ca(first.ca))


def house_retires(house: House, kept: Joining, moved: Identity) -> None:
    with pytest.raises(Refusal, match="may still be in use"):
        house.retire(house.site.clock + 1)
    house.retire(house.site.clock + house.site.policy.certificate.lifetime_s)
    assert not (house.ca / "old.key").exists() and house.status()["old"] is None
    with house.serving():
        assert [file.name for file in house.site.ca.client_roots] == ["ca.pem"]
        assert house.asks(kept, moved) == []
    with pytest.raises(PkiError, match="no old CA"):
        house.retire(house.site.clock)


def test_an_activation_that_was_cut_off_is_finished(house: House) -> None:
    staged = ca_renewal.stage(house.ca, house.site.clock)
    files = ca_renewal.CaFiles(house.ca)
    ca_renewal.keep_origin(house.ca)
    files.old.write_bytes((house.ca / "ca.pem").read_bytes())
    files.old_key.write_bytes((house.ca / "ca.key").read_bytes())
    files.next_key.replace(house.ca / "ca.key")
    with pytest.raises(PkiError):
        CertificateAuthority.load(house.ca)
    assert house.activate() == []
    assert CertificateAuthority.load(house.ca).ca_sha256 == staged == house.status()["present"]
    with pytest.raises(PkiError, match="no CA is staged"):
        house.activate()


def test_two_renewals_at_once_are_refused(house: House) -> None:
    ca_renewal.stage(house.ca, house.site.clock)
    with pytest.raises(PkiError, match="under way"):
        ca_renewal.stage(house.ca, house.site.clock)


def test_a_next_ca_that_nobody_vouches_for_is_refused(house: House, tmp_path: Path) -> None:
    trusted = house.site.ca.certificate
    ca_renewal.stage(house.ca, house.site.clock)
    shown = ca_renewal.shown(house.ca)
    assert vouched_ca(shown, trusted)
    evil = CertificateAuthority.create(tmp_path / "evil", NAMES, time.time())
    ca_renewal.stage(evil.folder, time.time())
    theirs = ca_renewal.shown(evil.folder)
    leaf = (house.ca / "server.pem").read_text()
    for forged in (
        theirs,
        NextCa(certificate=theirs.certificate, voucher=shown.voucher),
        NextCa(certificate=evil.certificate_pem, voucher=leaf),
        NextCa(certificate=leaf, voucher=leaf),
        NextCa(certificate=shown.certificate, voucher=shown.certificate),
        NextCa(certificate="", voucher=shown.voucher),
        NextCa(certificate=shown.certificate * 2, voucher=shown.voucher),
    ):
        with pytest.raises(ProtocolViolation):
            vouched_ca(forged, trusted)


def test_the_voucher_is_no_ca(house: House) -> None:
    """Whoever has the next key before it is activated signs nothing in the present CA's name."""
    ca_renewal.stage(house.ca, house.site.clock)
    voucher = x509.load_pem_x509_certificate(ca_renewal.CaFiles(house.ca).voucher.read_bytes())
    assert not voucher.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not voucher.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
