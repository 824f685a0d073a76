"""The TPM maker and its emulated TPMs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from authority.tpm import load_roots, node_id, parse_attest
from drivers.tpm2 import Tpm2Driver
from hal import DeviceError, Enclave
from simulators.devices.swtpm import Swtpm, SwtpmFactory


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("maker"))


def opened(running: Swtpm) -> Enclave:
    return Tpm2Driver().open({"tcti": running.tcti})


def identity(state: Path) -> str:
    with Swtpm(state) as running, opened(running) as enclave:
        return node_id(enclave.endorsement().ek_public)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_every_name_is_another_tpm_and_a_copy_is_the_same(factory, tmp_path):
    first, second = factory.manufacture("node-1"), factory.manufacture("node-2")
    copy = first.copy(tmp_path / "copy")
    identities = [identity(state.path) for state in (first, second, copy)]
    assert identities[0] == identities[2] != identities[1]


def test_a_name_is_manufactured_once(factory):
    first = factory.manufacture("once")
    written = {file.name: file.read_bytes() for file in first.path.iterdir()}
    again = factory.manufacture("once")
    assert again == first
    assert {file.name: file.read_bytes() for file in again.path.iterdir()} == written


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "n" * 64])
def test_a_name_that_is_a_path_is_refused(factory, name):
    with pytest.raises(ValueError, match="not a name"):
        factory.manufacture(name)


def test_the_maker_s_certificates_are_known_before_and_after_the_first_tpm(tmp_path):
    factory = SwtpmFactory(tmp_path / "maker")
    root, issuer = load_roots(factory.ca_certificates)
    issuer.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    factory.manufacture("first")
    assert load_roots(SwtpmFactory(tmp_path / "maker").ca_certificates) == (root, issuer)
    assert sorted(file.name for file in (tmp_path / "maker/states").iterdir()) == ["first"]


def test_folders_are_private(factory, tmp_path):
    with Swtpm(factory.manufacture("private").copy(tmp_path / "copy")) as running:
        sockets = Path(running.tcti.removeprefix("swtpm:path=")).parent
        for folder in (tmp_path / "copy", factory.manufacture("private").path, sockets):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_reboot_clears_the_registers_keeps_the_keys_and_counts(factory, tmp_path):
    with Swtpm(factory.manufacture("node-1").copy(tmp_path / "copy")) as running:
        tcti, pid = running.tcti, running.pid
        with opened(running) as enclave:
            before = parse_attest(enclave.quote(bytes(32), (0,)).attest)
            key = enclave.attestation_key()
        running.reboot()
        assert running.tcti == tcti
        assert running.pid != pid
        with opened(running) as enclave:
            after = parse_attest(enclave.quote(bytes(32), (0,)).attest)
            assert enclave.attestation_key() == key
    assert after.clock_info.reset_count == before.clock_info.reset_count + 1


@pytest.mark.parametrize("end", [Swtpm.stop, Swtpm.kill, Swtpm.close])
def test_the_process_is_gone_after(end, tmp_path):
    (tmp_path / "tpm").mkdir()
    running = Swtpm(tmp_path / "tpm")
    pid = running.pid
    end(running)
    assert running.pid is None
    assert gone(pid)
    running.close()
    running.close()
    assert not Path(running.tcti.removeprefix("swtpm:path=")).parent.exists()


@pytest.mark.parametrize("end", [Swtpm.stop, Swtpm.kill])
def test_a_suspended_tpm_is_ended_too(end, tmp_path):
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm") as running:
        pid = running.pid
        running.suspend()
        end(running)
        assert gone(pid)


def test_a_given_socket_folder_is_used_and_kept(tmp_path):
    (tmp_path / "tpm").mkdir()
    (tmp_path / "run").mkdir()
    with Swtpm(tmp_path / "tpm", tmp_path / "run") as running:
        assert running.tcti == f"swtpm:path={tmp_path}/run/tpm"
        with opened(running) as enclave:
            assert len(enclave.random(4)) == 4
    assert (tmp_path / "run").is_dir()


def test_a_socket_path_that_is_too_long_is_refused(tmp_path):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with pytest.raises(DeviceError, match="too long"):
        Swtpm(tmp_path, folder)


def test_a_state_that_cannot_be_used_is_reported_with_the_emulator_s_own_words(tmp_path):
    with pytest.raises(DeviceError, match=r"swtpm did not start: .*No such file"):
        Swtpm(tmp_path / "nowhere")


def test_two_processes_never_share_a_state(tmp_path):
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm"), pytest.raises(DeviceError, match="did not start"):
        Swtpm(tmp_path / "tpm")


def test_missing_programs_are_named_with_their_packages(tmp_path):
    program = (
        "from pathlib import Path; from hal import NotFound; from simulators.devices.swtpm import SwtpmFactory\n"
        f"try: SwtpmFactory(Path({str(tmp_path)!r}))\n"
        "except NotFound as error: print(error.remedy)\n"
    )
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert "apt-get install swtpm" in done.stdout, done.stderr
