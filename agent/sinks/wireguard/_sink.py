"""Keys as WireGuard preshared keys: staged at once, in force from the next handshake on."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agent.durable import read_bytes, read_struct, write_private
from agent.errors import AgentError, ConfigError, SinkFailed
from agent.log import event
from agent.sinks._interface import DataPlaneFacts, HeldKeys, sink_options
from agent.sinks.wireguard import _link
from agent.sinks.wireguard._device import KEY_BYTES, PeerSetting, WireGuardDevice
from agent.sinks.wireguard._kernel import KernelDevice
from agent.sinks.wireguard._uapi import UapiDevice, socket_path
from protocol.codec import encode
from protocol.delivery import Association, Direction, KeyBundle, Peer
from protocol.wireguard import wireguard_psk

SHORTEST_PERIOD_S = 180.0
"""A session lives so long at most (WireGuard paper, section 6.1, Reject-After-Time)."""


class WireGuardOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The network that runs over one interface, and how that is driven.

    `driver` is the kernel's module or an implementation in user space, by default whichever is there. `manage_link`
    makes a kernel interface that is missing, and keeps the address and the routes.
    """

    network: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    private_key_file: str
    interface: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.-]{1,15}\Z")] = "keyvigil"
    listen_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 51820
    driver: Literal["auto", "kernel", "user"] = "auto"
    manage_link: bool = True
    persistent_keepalive_s: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    clear_on_stop: bool = True


class _Staged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was last staged for a peer, and when (POSIX seconds)."""

    version: int
    at: float


class _StagedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the file beside the private key: by public key in hexadecimal."""

    peers: dict[str, _Staged]


class WireGuardSink:
    """The `wireguard` sink: the peers of one network, each with the preshared key of the pair."""

    name = "wireguard"

    def __init__(
        self,
        options: Mapping[str, Any],
        now: Callable[[], float] = time.time,
        device: WireGuardDevice | None = None,
    ) -> None:
        self._options = sink_options(self.name, options, WireGuardOptions)
        self._now = now
        self._private = _private_key(Path(self._options.private_key_file))
        self._given = device
        self._staged_file = Path(f"{self._options.private_key_file}.staged")
        self._staged = self._load_staged()
        self._places: dict[bytes, tuple[str, int]] = {}

    def serves(self, network: str) -> bool:
        """Whether the network is the one of this interface."""
        return network == self._options.network

    def facts(self) -> DataPlaneFacts:
        """The public key and the port that peers need."""
        return DataPlaneFacts(wireguard_public=_public(self._private), wireguard_port=self._options.listen_port)

    def install(self, bundle: KeyBundle) -> None:
        """Remove the peers that the bundle no longer has, then add the new ones and stage preshared keys.

        Where keys change more often than handshakes do, peers are still removed, and nothing is staged: `SinkFailed`.
        """
        device = self._ready()
        wanted = self._wanted(bundle)
        before = device.read().peers
        device.apply([public for public in before if public not in wanted], [])
        if bundle.associations and bundle.rotate_s < SHORTEST_PERIOD_S:
            raise SinkFailed(
                f"wireguard sink: the keys of {bundle.network} change every {bundle.rotate_s:g} s, but WireGuard takes "
                f"{SHORTEST_PERIOD_S:g} s to change one: peers that went are removed, no key was staged",
                remedy=f"Let the policy rotate every {SHORTEST_PERIOD_S:g} s at most, or use the kernel ESP sink.",
            )
        put = [peer for public, (peer, _) in wanted.items() if _differs(before.get(public), peer)]
        device.apply([], put)
        at = self._now()
        for peer in put:
            self._note(peer, wanted[peer.public][1], before.get(peer.public), at)
        self._keep({*wanted})
        if self._options.manage_link:
            _link.settle(self._options.interface, bundle.address, _addresses(peer for peer, _ in wanted.values()))

    def clear(self, network: str) -> None:
        """Remove every peer, if the network is the one of this interface."""
        if not self.serves(network):
            return
        device = self._ready()
        device.apply([*device.read().peers], [])
        self._keep(set())

    def held(self) -> list[HeldKeys]:
        """The peers, and which versions are in force: those that a handshake followed."""
        peers = (self._given or self._device()).read().peers
        if not peers:
            return []
        staged = {public: self._staged[public] for public in peers if public in self._staged}
        force = {one.version for public, one in staged.items() if peers[public].last_handshake > one.at}
        versions = sorted({one.version for one in staged.values()})
        return [HeldKeys(self._options.network, 2 * len(peers), versions, in_force=sorted(force))]

    def stop(self) -> None:
        """Remove every peer, because nothing else ends the keys' lease; off with `clear_on_stop = false`."""
        if self._options.clear_on_stop:
            self.clear(self._options.network)

    def _ready(self) -> WireGuardDevice:
        """The interface with our key and port: set anew where somebody else set others, or it was made anew."""
        device = self._given or self._device()
        state = device.read()
        if (state.private, state.port) != (self._private, self._options.listen_port):
            device.configure(self._private, self._options.listen_port)
        return device

    def _device(self) -> WireGuardDevice:
        interface = self._options.interface
        user = self._options.driver == "user"
        if user or (self._options.driver == "auto" and socket_path(interface).exists()):
            return UapiDevice(interface)
        if self._options.manage_link and not _link.exists(interface):
            _link.create(interface)
        return KernelDevice(interface)

    def _wanted(self, bundle: KeyBundle) -> dict[bytes, tuple[PeerSetting, int]]:
        """By public key, every peer that can be served and the version of its key; others are told of in the log."""
        wanted, own, now = {}, _public(self._private), self._now()
        for peer in bundle.peers:
            association = _of_pair(bundle, own, peer, now)
            if len(peer.wireguard_public) != KEY_BYTES or association is None:
                event(logging.WARNING, "a peer offers no WireGuard key yet", network=bundle.network, peer=peer.name)
                continue
            wanted[peer.wireguard_public] = (self._setting(bundle, peer, association), association.version)
        return wanted

    def _setting(self, bundle: KeyBundle, peer: Peer, association: Association) -> PeerSetting:
        place = (peer.endpoint, peer.wireguard_port) if peer.endpoint and peer.wireguard_port else None
        # A peer may roam: its place is set when the authority says a new one, and left alone otherwise.
        moved = place is not None and self._places.get(peer.wireguard_public) != place
        return PeerSetting(
            public=peer.wireguard_public,
            psk=wireguard_psk(association.key, bundle.network),
            allowed=frozenset({str(ipaddress.ip_network(peer.address))}),
            endpoint=place if moved else None,
            keepalive_s=self._options.persistent_keepalive_s,
        )

    def _note(self, peer: PeerSetting, version: int, before: Any, at: float) -> None:
        if peer.endpoint is not None:
            self._places[peer.public] = peer.endpoint
        if before is None or before.psk != peer.psk or peer.public not in self._staged:
            self._staged[peer.public] = _Staged(version, at)

    def _keep(self, kept: set[bytes]) -> None:
        """Forget all other peers, and write down what was staged: another process may ask, and a later start."""
        self._places = {public: one for public, one in self._places.items() if public in kept}
        self._staged = {public: one for public, one in self._staged.items() if public in kept}
        by_key = {public.hex(): one for public, one in self._staged.items()}
        try:
            write_private(self._staged_file, encode(_StagedFile(by_key)))
        except AgentError as error:
            raise SinkFailed(f"wireguard sink: {error}", remedy=error.remedy) from None

    def _load_staged(self) -> dict[bytes, _Staged]:
        try:
            stored = read_struct(self._staged_file, _StagedFile)
            return {} if stored is None else {bytes.fromhex(key): one for key, one in stored.peers.items()}
        except (AgentError, ValueError):
            event(logging.WARNING, "what was staged is unknown until keys change", path=str(self._staged_file))
            return {}


def _of_pair(bundle: KeyBundle, public: bytes, peer: Peer, now: float) -> Association | None:
    """The newest key in force of the direction from the lower public key to the higher, which both ends know."""
    mine = [one for one in bundle.associations if one.peer == peer.node_id]
    outbound = next((one for one in mine if one.direction is Direction.OUTBOUND), None)
    received = sorted((one for one in mine if one.direction is Direction.INBOUND), key=lambda one: one.epoch)
    in_force = [one for one in received if one.not_before <= now]
    inbound = next(iter([*in_force[-1:], *received]), None)
    if outbound is None or inbound is None:
        return None
    return outbound if public < peer.wireguard_public else inbound


def _differs(before: Any, peer: PeerSetting) -> bool:
    if before is None or peer.endpoint not in (None, before.endpoint):
        return True
    return (before.psk, before.allowed) != (peer.psk, peer.allowed)


def _addresses(peers: Any) -> list[str]:
    return [str(ipaddress.ip_network(allowed).network_address) for peer in peers for allowed in peer.allowed]


def _private_key(path: Path) -> bytes:
    """The interface's key in WireGuard's own form (base64 of 32 bytes), made when it is first needed."""
    if not path.is_absolute() or not path.parent.is_dir():
        raise ConfigError(
            f"sinks: the wireguard sink's private_key_file {path} is not an absolute path in an existing folder",
            remedy="Make the folder first, writable by the agent's user alone.",
        )
    try:
        stored = read_bytes(path, 256)
        if stored is not None:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ConfigError(f"sinks: {path} is open to others", remedy=f"Run `chmod 600 {path}`, or remove it.")
            key = base64.b64decode(stored.strip(), validate=True)
            if len(key) == KEY_BYTES:
                return key
            raise binascii.Error
        key = X25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        write_private(path, base64.b64encode(key) + b"\n")
    except binascii.Error:
        raise ConfigError(
            f"sinks: {path} holds no WireGuard key", remedy="Move it away; the agent makes a new one."
        ) from None
    except AgentError as error:
        raise ConfigError(f"sinks: the WireGuard key: {error}", remedy=error.remedy) from None
    return key


def _public(private: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(private).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
