"""TPMs that differ: in their endorsement keys and certificates, in their PCR banks, in who owns them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from tpm2_pytss import ESYS_TR

from authority.tpm import load_roots, make_credential, name, public_key, verify_endorsement
from drivers.tpm2 import Tpm2Driver
from drivers.tpm2._endorsement import _KINDS
from drivers.tpm2._tpm import Tpm
from hal import (
    AuthorisationFailed,
    Capability,
    Enclave,
    NotFound,
    PermissionDenied,
    Unsupported,
)
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.drivers.software_tpm import NONCE, left_loaded, on_tpm, opened
from tests.drivers.test_tpm2 import write_nv

SECRET = b"a credential of 32 bytes exactly"
CERTIFICATE = b"\x30\x82\x00\x80" + bytes(128)


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Swtpm]:
    (tmp_path / "bare").mkdir()
    with Swtpm(tmp_path / "bare") as running:
        yield running


def activated(enclave: Enclave) -> bytes:
    made = make_credential(enclave.endorsement().ek_public, name(enclave.attestation_key()), SECRET, os.urandom)
    return enclave.activate(made.blob, made.encrypted_secret)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=kind.template, marks=[pytest.mark.slow] if kind.template == "EK-HIGH-RSA3072" else [])
        for kind in _KINDS
    ],
)
def test_whichever_endorsement_key_is_certified_is_used(bare, kind):
    with opened(bare, timeout=60) as enclave:
        on_tpm(enclave, lambda tpm: write_nv(tpm, kind.certificate, CERTIFICATE))
        endorsement = enclave.endorsement()
        assert endorsement.certificates == (CERTIFICATE,)
        assert endorsement.further == ()
        assert str(public_key(endorsement.ek_public).key_size) in kind.template or "ECC" in kind.template
        assert activated(enclave) == SECRET
        made = make_credential(endorsement.ek_public, b"\x00\x0b" + bytes(32), SECRET, os.urandom)
        with pytest.raises(AuthorisationFailed):
            enclave.activate(made.blob, made.encrypted_secret)
        assert left_loaded(enclave) == []


def test_a_p384_endorsement_alone_is_accepted_by_the_authority(factory, tmp_path):
    """The RSA certificate is removed, as on a chip whose maker stored none."""
    with Swtpm(factory.fresh(tmp_path / "tpm")) as running, opened(running) as enclave:
        both = enclave.endorsement()
        on_tpm(enclave, remove_rsa_certificate)
        alone = enclave.endorsement()
        assert (alone.certificates, alone.further) == (both.further, ())
        assert public_key(alone.ek_public).key_size == 384
        roots = load_roots(factory.ca_certificates)
        assert verify_endorsement(alone.ek_public, alone.certificates, roots, datetime.now(UTC)).node_id
        assert activated(enclave) == SECRET


def remove_rsa_certificate(tpm: Tpm) -> None:
    handle = tpm.esys.tr_from_tpmpublic(0x01C00002)
    tpm.esys.nv_undefine_space(handle, ESYS_TR.PLATFORM)


def test_every_endorsement_certificate_is_reported(factory, tmp_path):
    with Swtpm(factory.fresh(tmp_path / "tpm")) as running, opened(running) as enclave:
        endorsement = enclave.endorsement()
    used, further = (x509.load_der_x509_certificate(der) for der in (*endorsement.certificates, *endorsement.further))
    assert (used.public_key().key_size, further.public_key().key_size) == (2048, 384)


def test_a_tpm_without_the_sha256_bank_says_so_and_seals_nothing_to_it(bare):
    """A policy over an absent bank is one over no register: it would always hold."""
    if not shutil.which("tpm2_pcrallocate"):
        pytest.skip("cannot change the banks: apt-get install tpm2-tools")
    environment = {**os.environ, "TPM2TOOLS_TCTI": bare.tcti, "TSS2_LOG": "all+NONE"}
    command = ["tpm2_pcrallocate", "sha1:all+sha256:none"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=30)
    bare.reboot()
    with opened(bare) as enclave:
        assert "sha256" not in enclave.status().pcr_banks
        assert not {Capability.PCRS, Capability.SEAL_APPROVED} & enclave.info.capabilities
        for work in (
            lambda: enclave.read_pcrs((0,)),
            lambda: enclave.quote(NONCE, (0,)),
            lambda: enclave.seal(b"secret", (0,)),
        ):
            with pytest.raises(Unsupported, match="SHA-256 bank") as caught:
                work()
            assert "firmware set-up" in caught.value.remedy
        assert left_loaded(enclave) == []


@pytest.fixture
def owner_file(tmp_path: Path) -> Path:
    file = tmp_path / "owner"
    file.write_bytes(b"owner-secret\n")
    file.chmod(0o600)
    return file


def test_a_file_with_the_owner_s_authorisation_that_others_may_read_is_refused(bare, owner_file):
    with opened(bare, owner_auth_file=str(owner_file)):
        pass
    for mode in (0o640, 0o604, 0o620):
        owner_file.chmod(mode)
        with pytest.raises(PermissionDenied, match="owner_auth_file") as caught:
            opened(bare, owner_auth_file=str(owner_file))
        assert "chmod 0600" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"\n", bytes(33), bytes(5000)])
def test_a_file_that_holds_no_authorisation_value_is_refused(bare, owner_file, content):
    owner_file.write_bytes(content)
    with pytest.raises(Unsupported, match="owner_auth_file"):
        opened(bare, owner_auth_file=str(owner_file))


def test_a_path_that_is_none_is_refused(bare, owner_file):
    for value, error in (("owner", Unsupported), (5, Unsupported), (f"{owner_file}-none", NotFound)):
        with pytest.raises(error, match="owner_auth_file") as caught:
            opened(bare, owner_auth_file=value)
        assert caught.value.remedy
    with pytest.raises(PermissionDenied, match="owner_auth_file"):
        opened(bare, owner_auth_file=str(owner_file.parent))


def test_a_wrong_owner_authorisation_is_refused_and_not_repeated(bare, owner_file):
    with opened(bare) as enclave:
        on_tpm(enclave, lambda tpm: tpm.esys.hierarchy_change_auth(ESYS_TR.OWNER, b"right"))
    with opened(bare, owner_auth_file=str(owner_file)) as enclave, pytest.raises(AuthorisationFailed) as caught:
        enclave.counter("label")
    assert "owner_auth_file" in caught.value.remedy
    assert "owner-secret" not in str(caught.value) + caught.value.remedy


def test_the_raw_device_is_not_shared_and_everything_else_is():
    from drivers.tpm2._options import Settings

    shared = {
        "device:/dev/tpmrm0": True,
        "device:/dev/tpmrm1": True,
        "device:/dev/tpm0": False,
        "swtpm:path=/run/tpm": True,
    }
    assert {tcti: Settings.parse({"tcti": tcti}).shared for tcti in shared} == shared
    assert "value" not in repr(Settings("", 1.0, Settings.parse({}).transport, b"value"))


def test_the_driver_lists_a_tpm_it_cannot_open_by_its_place(bare):
    bare.suspend()
    (info,) = Tpm2Driver().list({"tcti": bare.tcti, "timeout": 0.2})
    bare.resume()
    assert (info.port, info.name) == (bare.tcti, "")
