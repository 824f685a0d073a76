"""An interface driven through the configuration protocol of user-space implementations (wireguard.com/xplatform)."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from agent.errors import SinkFailed
from agent.sinks.wireguard._device import KEY_BYTES, DeviceState, PeerSetting, PeerState

SOCKETS = Path("/var/run/wireguard")
_LARGEST_ANSWER = 64 * 1024 * 1024
_TIMEOUT_S = 5.0


def socket_path(interface: str, folder: Path = SOCKETS) -> Path:
    """Where an implementation in user space listens for the configuration of `interface`."""
    return folder / f"{interface}.sock"


class UapiDevice:
    """One interface of wireguard-go, or of another implementation in user space."""

    def __init__(self, interface: str, folder: Path = SOCKETS) -> None:
        self._interface = interface
        self._path = socket_path(interface, folder)

    def read(self) -> DeviceState:
        """Ask for everything; raises `SinkFailed` for an answer that is not of the protocol as well."""
        try:
            return _parse(self._ask("get=1\n\n"))
        except ValueError:
            raise self._failed("its answer is not of the configuration protocol") from None

    def configure(self, private: bytes, port: int) -> None:
        """Set key and port."""
        self._set([f"private_key={private.hex()}", f"listen_port={port}"])

    def apply(self, remove: Sequence[bytes], put: Sequence[PeerSetting]) -> None:
        """Change peers in one request."""
        lines = [line for public in remove for line in (f"public_key={public.hex()}", "remove=true")]
        lines += [line for peer in put for line in _peer_lines(peer)]
        if lines:
            self._set(lines)

    def _set(self, lines: Sequence[str]) -> None:
        self._ask("\n".join(["set=1", *lines, "", ""]))

    def _ask(self, request: str) -> str:
        try:
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as line:
                line.settimeout(_TIMEOUT_S)
                line.connect(str(self._path))
                line.sendall(request.encode("ascii"))
                answer = _until_blank(line)
        except TimeoutError:
            raise self._failed(f"it did not answer within {_TIMEOUT_S:g} s") from None
        except OSError as error:
            raise self._failed(os.strerror(error.errno or 0)) from None
        except ValueError as error:
            raise self._failed(str(error)) from None
        body, _, code = answer.rpartition("errno=")
        if code.strip() != "0":
            known = code.strip().lstrip("-")
            raise self._failed(os.strerror(int(known)) if known.isdecimal() else "it gave no result")
        return body

    def _failed(self, cause: str) -> SinkFailed:
        return SinkFailed(
            f"wireguard sink: interface {self._interface} at {self._path}: {cause}",
            remedy=f"Start the implementation (`wireguard-go {self._interface}`) before the agent.",
        )


def _until_blank(line: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n\n"):
        more = line.recv(1 << 16)
        if not more:
            raise ValueError("it hung up in mid-answer")
        data += more
        if len(data) > _LARGEST_ANSWER:
            raise ValueError("its answer has no end")
    return data.decode("ascii", "replace")


def _peer_lines(peer: PeerSetting) -> Iterator[str]:
    yield f"public_key={peer.public.hex()}"
    yield f"preshared_key={peer.psk.hex()}"
    if peer.endpoint is not None:
        yield f"endpoint={endpoint_text(*peer.endpoint)}"
    yield f"persistent_keepalive_interval={peer.keepalive_s}"
    yield "replace_allowed_ips=true"
    yield from (f"allowed_ip={allowed}" for allowed in sorted(peer.allowed))


def endpoint_text(address: str, port: int) -> str:
    """`10.0.0.1:51820`, or `[fd00::1]:51820`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _parse(text: str) -> DeviceState:
    """Raises `ValueError` where the text is not of the protocol."""
    private, port = b"", 0
    peers: list[list[tuple[str, str]]] = []
    for line in filter(None, text.splitlines()):
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError("a line without an equals sign")
        if key == "public_key":
            peers.append([(key, value)])
        elif peers:
            peers[-1].append((key, value))
        elif key == "private_key":
            private = _key(value)
        elif key == "listen_port":
            port = int(value)
    found = [_peer(lines) for lines in peers]
    return DeviceState(private, port, {peer.public: peer for peer in found})


def _peer(lines: Sequence[tuple[str, str]]) -> PeerState:
    single = dict(lines)
    return PeerState(
        public=_key(single["public_key"]),
        psk=_key(single.get("preshared_key", "00" * KEY_BYTES)),
        allowed=frozenset(str(ipaddress.ip_network(value)) for key, value in lines if key == "allowed_ip"),
        endpoint=_endpoint(single.get("endpoint", "")),
        last_handshake=int(single.get("last_handshake_time_sec", "0"))
        + int(single.get("last_handshake_time_nsec", "0")) / 1e9,
        received=int(single.get("rx_bytes", "0")),
        sent=int(single.get("tx_bytes", "0")),
    )


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError("a key has 32 bytes")
    return key


def _endpoint(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    return str(ipaddress.ip_address(address.strip("[]"))), int(port)
