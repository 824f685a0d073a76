"""Key deliveries: verified, opened by the enclave, recorded against replay, installed, ended with their lease."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agent import barring
from agent.barring import NetworkRecord
from agent.clocks import boot_seconds
from agent.durable import read_struct, write_private
from agent.enclave import EnclaveGate
from agent.errors import AgentError, KeysLost, StateError
from agent.identity import Identity, load_kos_key
from agent.joining import DELIVERY_KEY_AUTH
from agent.log import event
from agent.point import uncompressed_point
from agent.sealed_store import SealedStore
from agent.sinks import DataPlaneFacts, KeySink, offered, serves, withdraw
from agent.state import StateDirectory
from hal import DeviceError
from protocol.codec import ProtocolViolation, decode, encode
from protocol.delivery import Envelope, KeyBundle, SealedDelivery, delivery_info, envelope_signing_input
from protocol.hpke import open_sealed
from protocol.levels import Access
from protocol.messages import DeliveryAck, DeliveryEvent


class DeliveryLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of deliveries.json, by network; numbers count per node and Key Orchestration Service."""

    node_id: str
    networks: dict[str, NetworkRecord]
    kos_sha256: str = ""


@dataclass(frozen=True)
class Receipt:
    """What became of one delivery: the acknowledgement to send, and whether keys changed."""

    ack: DeliveryAck
    network: str
    installed_now: bool


class DeliveryDesk:
    """Takes deliveries for one node and keeps the sinks at what the newest of each network says.

    Threads may share it. `now` gives POSIX seconds, `boot` seconds that no setting of the clock moves: a lease ends
    when either says so.
    """

    def __init__(
        self,
        identity: Identity,
        state: StateDirectory,
        gate: EnclaveGate,
        sinks: Sequence[KeySink],
        now: Callable[[], float],
        boot: Callable[[], float] = boot_seconds,
    ) -> None:
        self._identity = identity
        self._kos = _kos_key(identity)
        self._state = state
        self._store = SealedStore(state)
        self._gate = gate
        self._sinks = sinks
        self._now = now
        self._boot = boot
        self._taking = threading.Lock()
        self._lock = threading.RLock()
        self._stopped = False
        self._taken: set[str] = set()
        self._bundles: dict[str, KeyBundle] = {}
        self._changes: dict[str, float] = {}
        self._foreign: set[str] = set()
        self._networks = self._load()
        self._ends = {name: self._end(record.expires_at) for name, record in self._networks.items()}

    def take(self, delivery: DeliveryEvent) -> Receipt:
        """Verify, record and install one delivery.

        Raises `ProtocolViolation` for one that is forged, of another node or generation, replayed or expired, and
        `StateError` when it cannot be recorded: in both cases nothing changes. A sink that fails is in the receipt.
        """
        # Opening waits for the enclave, and leases end meanwhile: it holds up other deliveries and nothing else.
        with self._taking:
            sealed = self._verify(delivery)
            digest = hashlib.sha256(delivery.envelope).hexdigest()
            known = self._networks.get(sealed.network)
            self._check_order(sealed, digest, known)
            if known is not None and known.sha256 == digest and known.installed:
                return Receipt(self._ack("", lost=known.lacking), sealed.network, installed_now=False)
            bundle = self._open(sealed)
            with self._lock:
                return self._accept(sealed, bundle, digest, delivery.envelope)

    def _accept(self, sealed: SealedDelivery, bundle: KeyBundle, digest: str, envelope: bytes) -> Receipt:
        if self._stopped:
            raise AgentError("the agent stops: a delivery is left for its next start")
        known = self._networks.get(sealed.network)
        self._store.keep(sealed.network, envelope)
        record = barring.follow(_record(sealed, bundle, digest), known)
        selected = self._select(bundle, record)
        self._remember(sealed.network, barring.handed(record, selected, bundle))
        self._taken.add(sealed.network)
        self._bundles[sealed.network] = bundle
        self._plan_change(bundle)
        self._ends[sealed.network] = self._end(bundle.expires_at)
        self._foreign.discard(sealed.network)
        return self._apply(bundle, selected)

    def expire(self) -> list[str]:
        """Empty the sinks of every network whose lease has passed; the networks concerned."""
        with self._lock:
            self._foreign = {name for name in self._foreign if self._clear_sinks(name)}
            passed = [name for name, record in self._networks.items() if self._lapsed(name, record)]
            return [name for name in passed if self._clear(name)]

    def next_expiry(self) -> float | None:
        """When the next lease passes, or a key to send under comes into force, in POSIX seconds."""
        times = [record.expires_at for record in self._networks.values() if not record.cleared]
        return min([*times, *self._changes.values()], default=None)

    def switch(self) -> list[str]:
        """Have the sinks send under what has come into force since they were given keys; the networks concerned."""
        with self._lock:
            due = [name for name, at in self._changes.items() if at <= self._now() and not self._stopped]
            return [name for name in due if self._switch(name)]

    def _switch(self, network: str) -> bool:
        bundle, record = self._bundles[network], self._networks[network]
        self._changes.pop(network)
        if record.cleared:
            return False
        selected = self._select(bundle, record)
        self._remember(network, barring.handed(record, selected, bundle))
        self._plan_change(bundle)
        return not self._install(network, selected)

    def _plan_change(self, bundle: KeyBundle) -> None:
        at = barring.next_change(bundle, self._now())
        if at is None:
            self._changes.pop(bundle.network, None)
        else:
            self._changes[bundle.network] = at

    def restore(self) -> list[str]:
        """At a start: install again what sinks lost, from what is kept sealed; the networks concerned.

        So an agent goes on while the authority is away. It sends under no key that a sink lost. Where all kept their
        keys, it only knows again what comes into force when. Raises as `take` does.
        """
        self.reconcile()
        restored = []
        for name, record in [*self._networks.items()]:
            kept = None if record.cleared else self._store.find(name, record.number)
            if kept is None or hashlib.sha256(kept.envelope).hexdigest() != record.sha256:
                continue
            if record.installed:
                self._recall(kept)
            elif self.take(kept).installed_now:
                restored.append(name)
        return restored

    def _recall(self, kept: DeliveryEvent) -> None:
        bundle = self._open(self._verify(kept))
        if any(each.not_before > 0 for each in bundle.associations):
            with self._lock:
                self._bundles[bundle.network] = bundle
                self._changes[bundle.network] = self._now()

    def reconcile(self) -> int | None:
        """After a start: networks that a sink lost count as not installed.

        Returns the number to ask deliveries after, `None` when nothing is missing. Expired leases are emptied first.
        """
        with self._lock:
            self.expire()
            missing = [name for name, record in self._networks.items() if self._missing(name, record)]
            for name in missing:
                record = barring.bar(self._networks[name], self._losers(name, self._networks[name]))
                self._remember(name, msgspec.structs.replace(record, installed=False))
            return min(self._networks[name].number for name in missing) - 1 if missing else None

    def lacking(self) -> list[tuple[int, DeliveryAck]]:
        """Numbers and acknowledgements of what was installed without keys to send under; the authority is to know."""
        with self._lock:
            wanting = [record for record in self._networks.values() if record.lacking and record.installed]
            return [(record.number, self._ack("", lost=True)) for record in wanting]

    def facts(self) -> DataPlaneFacts | None:
        """What the sinks offer to the peers' data planes; none where none does. Raises `SinkFailed`."""
        with self._lock:
            return None if self._stopped else offered(self._sinks)

    def stop(self) -> None:
        """Let every sink end what would outlive its lease; nothing is installed from now on."""
        with self._lock:
            self._stopped = True
            for sink in self._sinks:
                try:
                    sink.stop()
                except AgentError as error:
                    event(logging.ERROR, "a key sink did not stop cleanly", sink=sink.name, error=str(error))

    def _verify(self, delivery: DeliveryEvent) -> SealedDelivery:
        envelope = decode(delivery.envelope, Envelope)
        _check_signature(self._kos, envelope)
        sealed = decode(envelope.payload, SealedDelivery)
        if sealed.node_id != self._identity.node_id:
            raise ProtocolViolation("a delivery is addressed to another node")
        if sealed.number != delivery.number:
            raise ProtocolViolation("a delivery carries another number than its envelope")
        return sealed

    @staticmethod
    def _check_order(sealed: SealedDelivery, digest: str, known: NetworkRecord | None) -> None:
        if known is None or known.sha256 == digest:
            return
        if sealed.generation < known.generation:
            raise ProtocolViolation("a delivery is of an earlier generation of the authority")
        if (sealed.generation, sealed.number) <= (known.generation, known.number):
            raise ProtocolViolation("a delivery was replayed")

    def _open(self, sealed: SealedDelivery) -> KeyBundle:
        info = delivery_info(sealed.node_id, sealed.network, sealed.generation, sealed.number)
        recipient = uncompressed_point(self._identity.delivery_key.public)
        plaintext = open_sealed(sealed.enc, sealed.ciphertext, info, recipient, self._agree)
        bundle = decode(plaintext, KeyBundle)
        if bundle.network != sealed.network:
            raise ProtocolViolation("a delivery holds the keys of another network")
        if bundle.expires_at <= self._now():
            raise ProtocolViolation("a delivery has expired")
        return bundle

    def _agree(self, peer: bytes) -> bytes:
        key = self._identity.delivery_key.certified()
        return self._gate.run(lambda enclave: enclave.agree(key, DELIVERY_KEY_AUTH, peer))

    def _select(self, bundle: KeyBundle, record: NetworkRecord) -> dict[str, KeyBundle]:
        return {sink.name: barring.select(bundle, record, sink.name, self._now()) for sink in self._sinks}

    def _apply(self, bundle: KeyBundle, selected: Mapping[str, KeyBundle]) -> Receipt:
        keyless = bundle.access is Access.ISOLATED or bundle.version is None
        error = self._end_keys(bundle) if keyless else self._install(bundle.network, selected)
        if not error:
            self._mark(bundle.network, installed=True, cleared=keyless)
        lost = not error and self._networks[bundle.network].lacking
        return Receipt(self._ack(error, lost=lost), bundle.network, installed_now=not error)

    def _install(self, network: str, selected: Mapping[str, KeyBundle]) -> str:
        """Install; a sink whose system lost keys that it sent under holds all others, and is not given these again."""
        lost: list[str] = []

        def install(sink: KeySink) -> None:
            try:
                sink.install(selected[sink.name])
            except KeysLost as error:
                lost.append(sink.name)
                event(logging.WARNING, "keys were lost", sink=sink.name, network=network, error=str(error))

        failed = self._each(network, "installed", install)
        if lost:
            barred = barring.bar(self._networks[network], lost)
            self._remember(network, msgspec.structs.replace(barred, lacking=True))
        return failed

    def _end_keys(self, bundle: KeyBundle) -> str:
        isolated = bundle.isolated
        return self._each(bundle.network, "cleared", lambda sink: withdraw(sink, bundle.network, isolated=isolated))

    def _clear_sinks(self, network: str) -> str:
        return self._each(network, "cleared", lambda sink: sink.clear(network))

    def _each(self, network: str, what: str, work: Callable[[KeySink], None]) -> str:
        """Do `work` on every sink, whatever the others say; the failures as one line."""
        errors = []
        for sink in self._serving(network):
            try:
                work(sink)
            except (AgentError, DeviceError) as error:
                errors.append(f"{sink.name}: {error}")
                event(logging.ERROR, f"keys could not be {what}", sink=sink.name, network=network, error=str(error))
        return "; ".join(errors)[:500]

    def _ack(self, error: str, *, lost: bool) -> DeliveryAck:
        return DeliveryAck(installed=not error, sinks=[sink.name for sink in self._sinks], error=error, lost=lost)

    def _clear(self, network: str) -> bool:
        if self._clear_sinks(network):
            return False
        try:
            self._mark(network, installed=False, cleared=True)
            self._store.drop(network)
        except StateError as error:
            event(logging.ERROR, "the end of a lease could not be recorded", network=network, error=str(error))
            return False
        event(logging.WARNING, "the lease of a network's keys has passed: its keys are removed", network=network)
        return True

    def _end(self, expires_at: float) -> float:
        """When a lease that ends at `expires_at` does so by the clock that nobody sets."""
        return self._boot() + expires_at - self._now()

    def _lapsed(self, name: str, record: NetworkRecord) -> bool:
        return not record.cleared and (record.expires_at <= self._now() or self._ends[name] <= self._boot())

    def _missing(self, name: str, record: NetworkRecord) -> bool:
        if record.cleared:
            return False
        return not record.installed or bool(self._losers(name, record))

    def _losers(self, name: str, record: NetworkRecord) -> list[str]:
        """The sinks that held the network's keys, or may have before this start, and do not now."""
        if record.associations == 0 or (name in self._taken and not record.installed):
            return []
        return [sink.name for sink in self._serving(name) if not self._holds(sink, name)]

    def _serving(self, network: str) -> list[KeySink]:
        return [sink for sink in self._sinks if serves(sink, network)]

    @staticmethod
    def _holds(sink: KeySink, network: str) -> bool:
        try:
            return any(held.network == network for held in sink.held())
        except AgentError:
            return False

    def _mark(self, network: str, *, installed: bool, cleared: bool) -> None:
        record = self._networks[network]
        if cleared:
            record = barring.bar(record, [sink.name for sink in self._sinks])
        self._remember(network, msgspec.structs.replace(record, installed=installed, cleared=cleared))

    def _remember(self, network: str, record: NetworkRecord) -> None:
        changed = self._networks | {network: record}
        log = DeliveryLog(self._identity.node_id, changed, self._kos_sha256())
        write_private(self._state.deliveries, encode(log))
        self._networks = changed

    def _load(self) -> dict[str, NetworkRecord]:
        log = read_delivery_log(self._state)
        if log is None:
            return {}
        if (log.node_id, log.kos_sha256) == (self._identity.node_id, self._kos_sha256()):
            return dict(log.networks)
        # A node that joined again elsewhere starts its numbers anew, and the keys that it had from there end.
        self._foreign = set(log.networks)
        return {}

    def _kos_sha256(self) -> str:
        return hashlib.sha256(self._identity.kos_public).hexdigest()


def read_delivery_log(state: StateDirectory) -> DeliveryLog | None:
    """What was accepted so far; raises `StateError` when the file is damaged."""
    return read_struct(state.deliveries, DeliveryLog)


def _record(sealed: SealedDelivery, bundle: KeyBundle, digest: str) -> NetworkRecord:
    return NetworkRecord(
        generation=sealed.generation,
        number=sealed.number,
        sha256=digest,
        expires_at=bundle.expires_at,
        tier=bundle.tier.value,
        access=bundle.access.value,
        rotation=bundle.rotation.value,
        version=bundle.version,
        epoch=bundle.epoch,
        associations=len(bundle.associations),
    )


def _kos_key(identity: Identity) -> ec.EllipticCurvePublicKey:
    try:
        return load_kos_key(identity.kos_public)
    except ProtocolViolation:
        raise StateError(
            "the stored key of the Key Orchestration Service is damaged", remedy="Join again with --rejoin."
        ) from None


def _check_signature(key: ec.EllipticCurvePublicKey, envelope: Envelope) -> None:
    """ECDSA P-256 with SHA-256, r ‖ s, of the Key Orchestration Service."""
    if len(envelope.signature) != 64:
        raise ProtocolViolation("a delivery carries no signature of the Key Orchestration Service")
    r, s = (int.from_bytes(half, "big") for half in (envelope.signature[:32], envelope.signature[32:]))
    try:
        key.verify(encode_dss_signature(r, s), envelope_signing_input(envelope.payload), ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise ProtocolViolation("a delivery is not signed by the Key Orchestration Service") from None
