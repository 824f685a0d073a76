"""A key-encryption key sealed to a TPM: opened by that TPM alone, in the state that it was sealed to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)
pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")

from tpm2_pytss import ESYS_TR, TPM2_ALG, TPML_DIGEST_VALUES, TPMT_HA, TPMU_HA

from drivers.tpm2 import Tpm2Driver
from drivers.tpm2_kek import TpmKind
from hal import DeviceError, Enclave
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.drivers.software_tpm import on_tpm


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("kek-tpms"))


@pytest.fixture(scope="module")
def tpm(maker: SwtpmFactory) -> Iterator[Swtpm]:
    with Swtpm(maker.manufacture("own")) as running:
        yield running


def test_this_tpm_opens_it_and_the_file_holds_no_key(tpm: Swtpm, tmp_path: Path) -> None:
    kind = TpmKind()
    description = kind.create(tmp_path, {"tcti": tpm.tcti}, os.urandom)
    file = tmp_path / description["file"]
    key = kind.open(tmp_path, description, os.urandom)
    assert len(key) == 32 and key not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    kind.destroy(tmp_path, description)
    assert not file.exists()
    with pytest.raises(DeviceError):
        kind.open(tmp_path, description, os.urandom)
    kind.destroy(tmp_path, description)


def test_another_tpm_does_not_open_it(tpm: Swtpm, maker: SwtpmFactory, tmp_path: Path) -> None:
    kind = TpmKind()
    description = kind.create(tmp_path, {"tcti": tpm.tcti}, os.urandom)
    with Swtpm(maker.manufacture("foreign")) as foreign, pytest.raises(DeviceError):
        kind.open(tmp_path, {**description, "tcti": foreign.tcti}, os.urandom)


def test_sealed_to_registers_it_opens_while_they_are_the_same(tpm: Swtpm, tmp_path: Path) -> None:
    kind = TpmKind()
    bound = kind.create(tmp_path, {"tcti": tpm.tcti, "pcrs": "5"}, os.urandom)
    free = kind.create(tmp_path, {"tcti": tpm.tcti}, os.urandom)
    assert len(kind.open(tmp_path, bound, os.urandom)) == 32
    with Tpm2Driver().open({"tcti": tpm.tcti}) as enclave:
        extend(enclave, 5)
    with pytest.raises(DeviceError):
        kind.open(tmp_path, bound, os.urandom)
    assert len(kind.open(tmp_path, free, os.urandom)) == 32, "control: it is the register, not the TPM"


def extend(enclave: Enclave, register: int) -> None:
    value = TPML_DIGEST_VALUES([TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"\x01" * 32))])
    on_tpm(enclave, lambda tpm: tpm.esys.pcr_extend(ESYS_TR(register), value))


@pytest.mark.parametrize("options", [{"colour": "red"}, {"pcrs": "a"}, {"pcrs": "24"}, {"pcrs": ""}])
def test_wrong_options_are_refused_with_what_there_is(tpm: Swtpm, tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(DeviceError) as caught:
        TpmKind().create(tmp_path, {"tcti": tpm.tcti, **options}, os.urandom)
    assert "pcrs" in caught.value.remedy
    assert [*tmp_path.iterdir()] == []
