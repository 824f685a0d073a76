"""The node's connection to its authority: identity, certificate and an HTTPS client, replaced together on renewal."""

from __future__ import annotations

import logging
import ssl
import threading

from agent.client import AuthorityClient
from agent.config import ConnectionSection
from agent.identity import Certificate, Identity, IdentityStore
from agent.joining import Joining
from agent.log import event


class Link:
    """Threads may share it; whoever holds a client across a renewal may finish what it began."""

    def __init__(self, store: IdentityStore, joining: Joining, settings: ConnectionSection) -> None:
        self._store = store
        self._joining = joining
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: list[AuthorityClient] = []
        self._use(store.load())

    @property
    def identity(self) -> Identity:
        """The node's identity."""
        return self._identity

    @property
    def certificate(self) -> Certificate:
        """The client certificate in use."""
        return self._certificate

    @property
    def client(self) -> AuthorityClient:
        """The HTTPS client in use."""
        return self._clients[-1]

    def context(self) -> ssl.SSLContext:
        """A fresh TLS context for another connection."""
        return self._store.tls_context(self._identity)

    def renew(self) -> None:
        """Get a new certificate, or the one that another process got meanwhile; on an error the old one stays."""
        with self._lock, self._store.exclusive():
            stored = self._store.load()
            fresh = stored.tls_file != self._identity.tls_file
            self._use(stored if fresh else self._joining.renew(stored))
        event(logging.INFO, "the certificate was renewed", not_after=self._certificate.not_after)

    def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            client.close()

    def _use(self, identity: Identity) -> None:
        context, settings = self._store.tls_context(identity), self._settings
        client = AuthorityClient(identity.authority, context, settings.timeout_s, settings.proxy)
        self._certificate = self._store.certificate(identity)
        self._identity = identity
        self._clients.append(client)
        # The client before this one may be in use by another thread; the one before that no longer is.
        for old in self._clients[:-2]:
            old.close()
        del self._clients[:-2]
