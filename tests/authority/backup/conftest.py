"""An authority with a network, in a state folder, and a key that its backups are made for."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection, select

from authority.backup import KeyLock, Made, PassphraseLock, Restored, make_backup, restore_backup
from authority.config import Site
from authority.keys import networks
from authority.service import Authority, initialise, open_authority
from authority.store import schema
from tests.authority.health.conftest import make_site

MINUTE = 60.0


@dataclass
class Safe:
    """A site, where its backups go, and `private`, which opens them."""

    folder: Path
    site: Site
    authority: Authority
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def now(self) -> float:
        return self.authority.runtime.now()

    @property
    def lock(self) -> KeyLock:
        """Whoever restores."""
        return KeyLock(self.private.public_key(), self.private)

    def backup(self, name: str = "b", lock: KeyLock | PassphraseLock | None = None) -> Made:
        """Made with the public half alone."""
        return make_backup(self.site, self.folder / name, lock or KeyLock(self.private.public_key()), self.now)

    def restore(self, name: str = "b", to: str = "restored", at: float | None = None) -> Restored:
        now = self.now if at is None else at
        return restore_backup(self.folder / name, self.folder / to, self.lock, lambda: now)


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Safe]:
    folder = tmp_path_factory.mktemp("safe")
    site = make_site(folder / "state")
    initialise(site, ["localhost"], random=random.Random(5).randbytes)
    authority = open_authority(site)
    authority.store.run(lambda conn: networks.create_network(conn, authority.runtime, "net", time.time()))
    yield Safe(folder, site, authority)
    authority.store.close()


def live_versions(conn: Connection) -> list[tuple[int, str, bytes]]:
    row = schema.key_version
    query = select(row.c.version, row.c.shred_id, row.c.wrapped).where(row.c.state != "destroyed")
    return [tuple(each) for each in conn.execute(query.order_by(row.c.version))]
