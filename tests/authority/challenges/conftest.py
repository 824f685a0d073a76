"""An authority with one node that joined and enrolled before, so that a test begins where answering begins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.store import Store
from authority.tpm import load_roots
from hal import Enclave
from simulators.devices.swtpm import SwtpmFactory
from tests.authority.nodes import Machine, Site, random_bytes
from tests.databases import copy_database, database_url


@dataclass(frozen=True)
class Template:
    """A closed database, the key that belongs to it, the node in it, and the time at which it was made."""

    database: Path
    kek: FileKek
    node: Machine
    clock: float


@pytest.fixture(scope="session")
def template(
    tmp_path_factory: pytest.TempPathFactory,
    tpm_maker: SwtpmFactory,
    ca: CertificateAuthority,
    enclaves: tuple[Enclave, Enclave],
) -> Template:
    database, kek = tmp_path_factory.mktemp("template") / "authority.db", FileKek(random_bytes(32))
    tpm_maker.manufacture("third")  # before the clock is set: its certificate does not hold any earlier
    store, node = Store(database_url(database)), Machine("n1", enclaves[0])
    site = Site(store, ca, kek, lab_roots=load_roots(tpm_maker.ca_certificates), clock=float(int(time.time())))
    node.join(site)
    node.enrol(site)
    store.close()
    return Template(database, kek, node, site.clock)


@pytest.fixture
def site(tmp_path: Path, template: Template, tpm_maker: SwtpmFactory, ca: CertificateAuthority) -> Iterator[Site]:
    copy_database(template.database, tmp_path / "authority.db")
    store = Store(database_url(tmp_path / "authority.db"))
    yield Site(store, ca, template.kek, lab_roots=load_roots(tpm_maker.ca_certificates), clock=template.clock)
    store.close()


@pytest.fixture
def enrolled(template: Template) -> Machine:
    return replace(template.node)
