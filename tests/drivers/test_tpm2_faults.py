"""A TPM that is absent, dies or stalls; options and response codes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)


from drivers.tpm2 import Tpm2Driver
from drivers.tpm2._errors import translate
from hal import (
    AuthorisationFailed,
    Busy,
    DeviceError,
    Disconnected,
    Enclave,
    NotFound,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)
from simulators.devices.swtpm import Swtpm
from tests.drivers.software_tpm import left_loaded

NONCE, DIGEST = bytes(range(32)), b"\xd1" * 32
STALL = 0.3


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Swtpm]:
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm") as running:
        yield running


def opened(tcti: str, **options: object) -> Enclave:
    return Tpm2Driver().open({"tcti": tcti, **options})


def test_a_tpm_that_is_not_there_is_not_found_and_nothing_is_printed(tmp_path, capfd):
    for tcti in (f"swtpm:path={tmp_path}/none", "device:/dev/no-such-tpm", "mssim:host=127.0.0.1,port=1"):
        with pytest.raises(NotFound):
            opened(tcti)
        assert list(Tpm2Driver().list({"tcti": tcti})) == []
    assert capfd.readouterr() == ("", "")


def test_a_node_that_is_no_tpm_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeviceError):
        opened(f"device:{tmp_path}/file", timeout=1)


@pytest.mark.parametrize(
    "options", [{"tcti": "tabrmd:"}, {"tcti": 5}, {"timeout": 0}, {"timeout": "soon"}, {"timeout": True}, {"tti": ""}]
)
def test_wrong_options_are_named_with_a_remedy(options):
    with pytest.raises(Unsupported) as caught:
        Tpm2Driver().open(options)
    assert caught.value.remedy


def test_a_chip_is_announced_as_one():
    from drivers.tpm2._driver import Settings

    assert Settings.parse({}).transport is Transport.TPM
    assert Settings.parse({"tcti": "device:/dev/tpmrm0"}).transport is Transport.TPM
    assert Settings.parse({"tcti": "swtpm:path=/x"}).transport is Transport.VIRTUAL
    assert Settings.parse({"tcti": "mssim:"}).transport is Transport.VIRTUAL


def test_a_missing_software_stack_is_named_with_its_packages():
    program = (
        "import sys; sys.modules['tpm2_pytss'] = None\n"
        "from drivers.tpm2 import Tpm2Driver; from hal import Unsupported\n"
        "try: Tpm2Driver().open({'tcti': 'swtpm:path=/x'})\n"
        "except Unsupported as error: print(error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "apt-get install libtss2-esys" in done.stdout, done.stderr


def test_a_dead_tpm_is_disconnected_and_a_new_open_works(emulator):
    with opened(emulator.tcti) as enclave:
        before = enclave.attestation_key()
        emulator.kill()
        with pytest.raises(Disconnected):
            enclave.quote(NONCE, (0,))
        with pytest.raises(NotFound):
            opened(emulator.tcti)
        emulator.start()
        with pytest.raises(Disconnected):
            enclave.random(1)
    with opened(emulator.tcti) as again:
        assert again.attestation_key() == before


def test_a_stalled_tpm_times_out_and_leaves_nothing_loaded_once_it_goes_on(emulator):
    enclave = opened(emulator.tcti, timeout=STALL)
    (worker,) = [thread for thread in threading.enumerate() if thread.name == f"tpm {emulator.tcti}"]
    emulator.suspend()
    with pytest.raises(TimedOut, match="quoting"):
        enclave.quote(NONCE, (0,))
    with pytest.raises(Disconnected):
        enclave.quote(NONCE, (0,))
    enclave.close()
    with pytest.raises(TimedOut):
        opened(emulator.tcti, timeout=STALL)
    emulator.resume()
    worker.join(10)
    assert not worker.is_alive()
    with opened(emulator.tcti) as again:
        assert len(again.random(8)) == 8
        assert left_loaded(again) == []


def test_closing_ends_the_thread_and_may_be_repeated(emulator):
    enclave = opened(emulator.tcti)
    (worker,) = [thread for thread in threading.enumerate() if thread.name == f"tpm {emulator.tcti}"]
    enclave.close()
    enclave.close()
    worker.join(10)
    assert not worker.is_alive()
    with pytest.raises(Disconnected):
        enclave.random(1)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0x98E, AuthorisationFailed),
        (0x9A2, AuthorisationFailed),
        (0x1DF, AuthorisationFailed),
        (0x99D, AuthorisationFailed),
        (0x126, AuthorisationFailed),
        (0x921, AuthorisationFailed),
        (0x12F, AuthorisationFailed),
        (0x902, Busy),
        (0x903, Busy),
        (0x922, Busy),
        (0x101, DeviceError),
        (0xB098E, AuthorisationFailed),
        (0xA000A, Disconnected),
        (0xA0011, ProtocolError),
        (0x70018, ProtocolError),
    ],
)
def test_every_code_has_its_error_and_a_remedy(code, kind):
    error = translate(code, "signing")
    assert type(error) is kind
    assert "signing" in str(error)
    assert error.remedy
