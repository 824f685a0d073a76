"""Software TPMs of one maker."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hal import Enclave
from simulators.devices.swtpm import Swtpm, SwtpmFactory


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    if not shutil.which("swtpm_setup"):
        pytest.skip("no software TPM: apt-get install swtpm swtpm-tools")
    return SwtpmFactory(tmp_path_factory.mktemp("maker"))


@pytest.fixture(scope="session")
def first_tpm(maker: SwtpmFactory) -> Iterator[Swtpm]:
    with Swtpm(maker.manufacture("first")) as tpm:
        yield tpm


@pytest.fixture(scope="session")
def first(first_tpm: Swtpm) -> Iterator[Enclave]:
    pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
    from drivers.tpm2 import Tpm2Driver

    with Tpm2Driver().open({"tcti": first_tpm.tcti}) as enclave:
        yield enclave


@pytest.fixture(scope="session")
def second(maker: SwtpmFactory) -> Iterator[Enclave]:
    from drivers.tpm2 import Tpm2Driver

    with Swtpm(maker.manufacture("second")) as tpm, Tpm2Driver().open({"tcti": tpm.tcti}) as enclave:
        yield enclave


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)
