"""Deliberately broken variants of the product: what a check must notice, or it checks nothing."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from authority.pki import CertificateAuthority
from authority.planes.tls import server_context
from authority.runtime import Runtime
from tests.authority.nodes import Site

NOTICED = (AssertionError, pytest.fail.Exception)
"""What a check raises when it finds the flaw: `pytest.raises` that saw nothing raised fails by the second."""


@contextmanager
def replaced(owner: object, name: str, by: object) -> Iterator[None]:
    """`owner.name` is something else meanwhile; only for a function that nothing lets a test pass in."""
    genuine = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, genuine)


def passes(*_arguments: Any, **_named: Any) -> None:
    """A check that was taken out."""


class ConstantNonces(Site):
    """Every 32 bytes that are drawn are the same, as CVE-2026-6420 had it."""

    @property
    def rt(self) -> Runtime:
        return replace(super().rt, random=lambda count: bytes(range(32)) if count == 32 else os.urandom(count))


class CachedPolicy(Site):
    """The policy of the first decision serves all later ones."""

    @property
    def rt(self) -> Runtime:
        self.__dict__.setdefault("kept", self.policy)
        return replace(super().rt, policy=self.__dict__["kept"])


def variant(kind: type[Site], site: Site) -> Site:
    """The same authority, broken in one way."""
    return kind(**vars(site))


@contextmanager
def one_at_a_time(ca: CertificateAuthority) -> Iterator[int]:
    """A server that shakes hands in its accept loop, as the registrar of CVE-2023-38200 did; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    thread = threading.Thread(target=_serve, args=(listener, server_context(ca)), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
