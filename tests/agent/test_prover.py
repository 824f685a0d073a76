"""How a node proves things by an enclave that attests to nothing, judged by the authority's own verifier."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from agent.clocks import StoppableClock
from agent.config import ConnectionSection, parse_config
from agent.enclave import EnclaveGate
from agent.errors import AuthorityRefused, ConfigError
from agent.identity import Identity, IdentityStore
from agent.joining import Joining, anonymous_connector
from agent.point import uncompressed_point
from agent.prover import Prover, identity_key, kind_of
from agent.state import StateDirectory
from authority.enclaves import StatementRejected, check_key, verify_statement
from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.planes import Hub, create_node_app, node_server
from authority.store import Store
from authority.tpm import CertifiedUse
from authority.trust.policy import EnclaveRules
from hal import Deadline, Device, Driver, Enclave, KeyUse, Unsupported
from protocol.codec import ProtocolViolation, encode
from protocol.levels import EnclaveKind
from protocol.messages import SensorIdentity
from protocol.tokens import parse_join_token
from tests.agent.world import Tpm, delivery_key, identity, kos_for
from tests.authority.nodes import Site, random_bytes
from tests.authority.planes.plane import HOST, listening
from tests.drivers.token_rigs import EnclaveRig, configfs_rig, pkcs11_rig, software_rig

DIGEST = bytes(range(32))
RIGS = {"software": software_rig, "pkcs11": pkcs11_rig}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EnclaveRig]:
    with RIGS[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def enclave(rig: EnclaveRig) -> Iterator[Enclave]:
    with rig.open() as opened:
        yield opened


@pytest.fixture
def prover(enclave: Enclave) -> Prover:
    return Prover(kind_of(enclave), identity_key(enclave, None))


def test_evidence_and_keys_hold_before_the_authority(enclave: Enclave, prover: Prover) -> None:
    assert prover.identity_key is not None
    public, kind = prover.identity_key.public, prover.kind
    evidence = prover.evidence(enclave, DIGEST, [0, 7])
    assert evidence.pcrs == {}
    verify_statement(kind, public, evidence, DIGEST)
    for use in KeyUse:
        key = enclave.create_key(use, b"auth", DIGEST)
        certified = prover.key(enclave, key, use, DIGEST)
        check_key(kind, public, certified, DIGEST, CertifiedUse(use.value))
        assert uncompressed_point(certified.public) == key.public
        for wrong in CertifiedUse:
            if wrong.value != use.value:
                with pytest.raises(StatementRejected):
                    check_key(kind, public, certified, DIGEST, wrong)
    with pytest.raises(StatementRejected):
        verify_statement(kind, public, evidence, bytes(32))


def test_there_are_no_registers_to_ask_for(prover: Prover) -> None:
    assert prover.selection([0, 7]) == () == prover.selection([])
    with pytest.raises(ProtocolViolation):
        Prover(EnclaveKind.TPM2).selection([])


def test_an_enclave_of_another_kind_proves_nothing_for_this_node(enclave: Enclave, prover: Prover) -> None:
    """Whatever the authority asks: a TPM node never makes statements, and no other node quotes."""
    others = [kind for kind in EnclaveKind if kind is not prover.kind]
    for kind in others:
        with pytest.raises(ConfigError, match=f"joined with an enclave of kind {kind.value}"):
            replace(prover, kind=kind).evidence(enclave, DIGEST, [0])


def test_a_tpm_proves_by_itself(tpm: Tpm) -> None:
    with tpm.open() as enclave:
        prover = Prover(kind_of(enclave))
        quote = prover.evidence(enclave, DIGEST, [0, 7])
        assert quote.attest[:4] == b"\xffTCG" and sorted(quote.pcrs) == [0, 7]


def test_an_identity_key_is_kept_while_its_enclave_knows_it(rig: EnclaveRig, enclave: Enclave, prover: Prover) -> None:
    assert identity_key(enclave, prover.identity_key) == prover.identity_key
    with rig.open_other() as other:
        assert identity_key(other, prover.identity_key) != prover.identity_key


def test_an_enclave_without_keys_cannot_join(tmp_path: Path) -> None:
    with configfs_rig(tmp_path) as made, made.open() as enclave, pytest.raises(Unsupported) as caught:
        kind_of(enclave)
    assert "devices.enclave" in caught.value.remedy


def test_the_identity_of_a_tpm_node_is_stored_as_it_always_was(tpm: Tpm) -> None:
    with tpm.open() as enclave:
        key = delivery_key(enclave)
    stored = identity(kos_for(key), key)
    assert b"enclave_kind" not in encode(stored) and b"identity_key" not in encode(stored)
    assert Prover.of(stored) == Prover(EnclaveKind.TPM2)


# The agent against the authority itself, over TLS.


@dataclass
class OneEnclave:
    """Devices of a node that has nothing but an enclave."""

    driver: str
    modalities: tuple[str, ...] = ()

    def identity_of(self, name: str, device: Device) -> SensorIdentity:
        info = device.info
        return SensorIdentity(
            kind="enclave", driver=self.driver, driver_sha256="1" * 64, transport=info.transport.value, port=info.port
        )

    def display(self) -> SensorIdentity | None:
        return None

    def infrared(self, deadline: Deadline) -> SensorIdentity | None:
        return None


@dataclass
class Joined:
    site: Site
    joining: Joining
    store: IdentityStore
    url: str

    def join(self, *, again: bool = False, name: str = "node-a") -> Identity:
        return self.joining.join(parse_join_token(self.site.token(name)), again=again)

    def at(self, driver: Driver, options: dict) -> Joining:
        """The same node with another enclave."""
        state, clock = self.joining.gate.state, self.joining.gate.clock
        return replace(self.joining, gate=EnclaveGate(state, lambda: driver.open(options), clock))  # type: ignore[arg-type,return-value]


@pytest.fixture
def joined(rig: EnclaveRig, tmp_path: Path) -> Iterator[Joined]:
    ca = CertificateAuthority.create(tmp_path / "ca", ["localhost", HOST], time.time())
    store = Store(f"sqlite:///{tmp_path / 'authority.db'}")
    site = Site(store, ca, FileKek(random_bytes(32)))
    site.policy = msgspec.structs.replace(site.policy, enclaves=EnclaveRules(allowed=("pkcs11", "software")))
    app = create_node_app(store, site.rt, ca, [], [], Hub())
    with ExitStack() as stack:
        stack.callback(store.close)
        running = stack.enter_context(listening(node_server(app, ca, HOST, 0)))
        url = f"https://{HOST}:{running.server.port}"
        state = StateDirectory.open(tmp_path / "state")
        config = parse_config(
            f'[node]\nname = "node-a"\nstate_dir = "{state.root}"\nauthority = "{url}"\n'
            f'[devices.enclave]\ndriver = "x"\nsha256 = "{"0" * 64}"\n'.encode()
        )
        gate = EnclaveGate(state, rig.open, StoppableClock(threading.Event()))
        identities = IdentityStore(state)
        devices = OneEnclave(rig.kind.value)
        joining = Joining(
            config,
            devices,
            gate,
            identities,
            lambda: site.clock,
            anonymous_connector(url, ConnectionSection(timeout_s=20.0)),
        )  # type: ignore[arg-type]
        yield Joined(site, joining, identities, url)


def test_a_node_joins_renews_and_joins_again_as_the_same(joined: Joined, rig: EnclaveRig) -> None:
    first = joined.join()
    assert (first.enclave_kind.value, first.pcr_selection) == (rig.kind.value, [])
    assert joined.site.node(first.node_id).enclave_kind == rig.kind.value
    assert joined.store.load() == first
    renewed = joined.joining.renew(first)
    assert renewed.tls_file != first.tls_file
    again = joined.join(again=True)
    assert (again.node_id, again.identity_key) == (first.node_id, first.identity_key)
    assert again.delivery_key != first.delivery_key


def test_another_enclave_of_the_kind_does_not_take_the_name_over(joined: Joined, rig: EnclaveRig) -> None:
    first = joined.join()
    assert rig.other is not None
    exchanged = joined.at(rig.driver, rig.other)
    with pytest.raises(AuthorityRefused, match="belongs to another enclave"):
        exchanged.join(parse_join_token(joined.site.token("node-a")), again=True)
    assert joined.store.load() == first, "a refused joining changes nothing"
    assert joined.joining.renew(first)


@pytest.mark.skipif(not shutil.which("swtpm"), reason="no software TPM: apt-get install swtpm swtpm-tools")
def test_a_node_does_not_become_a_tpm_node_or_cease_to_be_one(joined: Joined, tpm: Tpm) -> None:
    first = joined.join()
    exchanged = joined.at(tpm.driver, {"tcti": tpm.swtpm.tcti})
    with pytest.raises(ConfigError, match="joined with an enclave of kind"):
        exchanged.renew(first)
    with pytest.raises(AuthorityRefused):
        exchanged.join(parse_join_token(joined.site.token("node-a")), again=True)
