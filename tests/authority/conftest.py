"""Software TPMs of one maker, and an authority that knows that maker."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.store import Store
from authority.tpm import load_roots
from hal import Enclave
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.authority.nodes import Machine, Site, random_bytes
from tests.databases import database_url


@pytest.fixture(scope="session")
def tpm_maker(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    if not shutil.which("swtpm_setup"):
        pytest.skip("no software TPM: apt-get install swtpm swtpm-tools")
    pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
    return SwtpmFactory(tmp_path_factory.mktemp("tpm-maker"))


@contextmanager
def running_tpm(maker: SwtpmFactory, name: str) -> Iterator[Enclave]:
    from drivers.tpm2 import Tpm2Driver

    with Swtpm(maker.manufacture(name)) as tpm, Tpm2Driver().open({"tcti": tpm.tcti}) as enclave:
        yield enclave


@pytest.fixture(scope="session")
def enclaves(tpm_maker: SwtpmFactory) -> Iterator[tuple[Enclave, Enclave]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(running_tpm(tpm_maker, name)) for name in ("one", "two"))


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    folder = tmp_path_factory.mktemp("site") / "ca"
    return CertificateAuthority.create(folder, ["localhost", "127.0.0.1"], time.time())


@pytest.fixture
def site(tmp_path: Path, tpm_maker: SwtpmFactory, ca: CertificateAuthority) -> Iterator[Site]:
    roots = load_roots(tpm_maker.ca_certificates)
    store = Store(database_url(tmp_path / "authority.db"))
    yield Site(store, ca, FileKek(random_bytes(32)), lab_roots=roots)
    store.close()


@pytest.fixture
def machine(enclaves: tuple[Enclave, Enclave]) -> Machine:
    return Machine("n1", enclaves[0])


@pytest.fixture
def other(enclaves: tuple[Enclave, Enclave]) -> Machine:
    """A second machine, with a TPM of its own."""
    return Machine("n2", enclaves[1])
