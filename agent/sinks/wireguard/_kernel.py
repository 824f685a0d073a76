"""An interface of the kernel's own WireGuard, driven through generic netlink (linux/wireguard.h)."""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pyroute2 import WireGuard
from pyroute2.netlink.exceptions import NetlinkError

from agent.errors import SinkFailed
from agent.sinks.wireguard._device import KEY_BYTES, DeviceState, PeerSetting, PeerState

T = TypeVar("T")


class KernelDevice:
    """One interface of the kernel module; a request a peer, since one message holds no more than 64 KiB."""

    def __init__(self, interface: str) -> None:
        self._interface = interface

    def read(self) -> DeviceState:
        """Dump the interface: large ones come in several messages, whose peers may continue one another."""
        messages = self._ask(lambda wireguard: list(wireguard.info(self._interface)))
        private, port = b"", 0
        peers: dict[bytes, PeerState] = {}
        for message in messages:
            private = _key(message.get_attr("WGDEVICE_A_PRIVATE_KEY")) or private
            port = message.get_attr("WGDEVICE_A_LISTEN_PORT") or port
            for each in message.get_attr("WGDEVICE_A_PEERS") or []:
                peer = _peer(each)
                before = peers.get(peer.public)
                peers[peer.public] = peer if before is None else _continued(before, peer)
        return DeviceState(private, port, peers)

    def configure(self, private: bytes, port: int) -> None:
        """Set key and port."""
        key = base64.b64encode(private)
        self._ask(lambda wireguard: wireguard.set(self._interface, private_key=key, listen_port=port))

    def apply(self, remove: Sequence[bytes], put: Sequence[PeerSetting]) -> None:
        """Change peers one by one, removals first."""
        gone: list[dict[str, Any]] = [{"public_key": base64.b64encode(public), "remove": True} for public in remove]
        for peer in [*gone, *map(_setting, put)]:
            self._ask(lambda wireguard, peer=peer: wireguard.set(self._interface, peer=peer))  # type: ignore[misc]

    def _ask(self, work: Callable[[Any], T]) -> T:
        try:
            with WireGuard() as wireguard:
                return work(wireguard)
        except NetlinkError as error:
            raise self._failed(os.strerror(error.code), error.code) from None
        except OSError as error:
            raise self._failed(os.strerror(error.errno or 0), error.errno or 0) from None

    def _failed(self, cause: str, _code: int) -> SinkFailed:
        return SinkFailed(
            f"wireguard sink: interface {self._interface}: the kernel says: {cause}",
            remedy="Run the agent with CAP_NET_ADMIN on a kernel with WireGuard, or start wireguard-go for it.",
        )


def _setting(peer: PeerSetting) -> dict[str, Any]:
    setting: dict[str, Any] = {
        "public_key": base64.b64encode(peer.public),
        "preshared_key": base64.b64encode(peer.psk),
        "persistent_keepalive": peer.keepalive_s,
        "replace_allowed_ips": True,
        "allowed_ips": sorted(peer.allowed),
    }
    if peer.endpoint is not None:
        setting |= {"endpoint_addr": peer.endpoint[0], "endpoint_port": peer.endpoint[1]}
    return setting


def _peer(message: Any) -> PeerState:
    time = message.get_attr("WGPEER_A_LAST_HANDSHAKE_TIME") or {}
    at = message.get_attr("WGPEER_A_ENDPOINT")
    return PeerState(
        public=_key(message.get_attr("WGPEER_A_PUBLIC_KEY")),
        psk=_key(message.get_attr("WGPEER_A_PRESHARED_KEY")) or bytes(KEY_BYTES),
        allowed=frozenset(
            str(ipaddress.ip_network(each["addr"])) for each in message.get_attr("WGPEER_A_ALLOWEDIPS") or []
        ),
        endpoint=(at["addr"], at["port"]) if at else None,
        last_handshake=time.get("tv_sec", 0) + time.get("tv_nsec", 0) / 1e9,
        received=message.get_attr("WGPEER_A_RX_BYTES") or 0,
        sent=message.get_attr("WGPEER_A_TX_BYTES") or 0,
    )


def _continued(before: PeerState, more: PeerState) -> PeerState:
    return PeerState(
        before.public,
        before.psk,
        before.allowed | more.allowed,
        before.endpoint,
        before.last_handshake,
        before.received,
        before.sent,
    )


def _key(value: str | bytes | None) -> bytes:
    return base64.b64decode(value) if value else b""
