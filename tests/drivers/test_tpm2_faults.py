"""A TPM that is absent, dies, stalls, or sits behind a bus that somebody listens to."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss import ESYS_TR, TPM2B_SENSITIVE_CREATE, TPMA_OBJECT, TPMS_SENSITIVE_CREATE

from authority.tpm import make_credential, name
from drivers.tpm2 import Tpm2Driver, _templates
from drivers.tpm2._errors import translate
from drivers.tpm2._tpm import Tpm
from hal import (
    AuthorisationFailed,
    Busy,
    DeviceError,
    Disconnected,
    Enclave,
    KeyUse,
    NotFound,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)
from simulators.devices.swtpm import Swtpm
from tests.drivers.software_tpm import left_loaded

NONCE, DIGEST = bytes(range(32)), b"\xd1" * 32
SECRET = b"a secret that must not be heard!"
AUTH = b"an authorisation value, likewise"
STALL = 0.3
START_AUTH_SESSION = b"\x00\x00\x01\x76\x80"
"""Command code, and the first byte of the handle of a transient key to salt to."""


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


class Bus:
    """A relay between the driver and the TPM that keeps every byte, and may change what the TPM answers."""

    def __init__(self, emulator: Swtpm, folder: Path) -> None:
        self.heard = bytearray()
        self.tamper: Callable[[bytes, bytes], bytes] = lambda command, answer: answer
        self._target = emulator.tcti.removeprefix("swtpm:path=")
        self._path = folder / "bus"
        self.tcti = f"swtpm:path={self._path}"
        self._listeners = [self._listen(suffix) for suffix in ("", ".ctrl")]

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _listen(self, suffix: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self._path}{suffix}")
        listener.listen()
        threading.Thread(target=self._accept, args=(listener, suffix), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket, suffix: str) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._relay(client, suffix)

    def _relay(self, client: socket.socket, suffix: str) -> None:
        with client, socket.socket(socket.AF_UNIX) as tpm:
            tpm.connect(self._target + suffix)
            while command := client.recv(8192):
                tpm.sendall(command)
                answer = tpm.recv(8192)
                if not suffix:
                    self.heard += command + answer
                    answer = self.tamper(command, answer)
                client.sendall(answer)


@pytest.fixture
def bus(emulator: Swtpm, tmp_path: Path) -> Iterator[Bus]:
    relay = Bus(emulator, tmp_path)
    yield relay
    relay.close()


def test_a_listener_on_the_bus_hears_no_secret(bus):
    peer = ec.generate_private_key(ec.SECP256R1())
    peer_point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    with opened(bus.tcti) as enclave:
        assert enclave.unseal(enclave.seal(SECRET, (0,))) == SECRET
        enclave.sign(enclave.create_key(KeyUse.SIGN, AUTH, NONCE), AUTH, DIGEST)
        shared = enclave.agree(enclave.create_key(KeyUse.AGREE, AUTH, NONCE), AUTH, peer_point)
        drawn = enclave.random(32)
        ek, ak = enclave.endorsement().ek_public, enclave.attestation_key()
        made = make_credential(ek, name(ak), SECRET, lambda count: bytes(range(1, count + 1)))
        assert enclave.activate(made.blob, made.encrypted_secret) == SECRET
    assert ak in bus.heard
    for secret in (SECRET, AUTH, shared, drawn):
        assert secret not in bus.heard


def test_without_the_sessions_the_same_listener_hears_everything(bus):
    """The control of the test above: password authorisation, as a simpler driver would use."""
    with opened(bus.tcti) as enclave:
        enclave._run("sealing in the clear", seal_in_the_clear)  # type: ignore[attr-defined]
    assert SECRET in bus.heard
    assert AUTH in bus.heard


def seal_in_the_clear(tpm: Tpm) -> None:
    template = _templates.sealed_object(b"")
    template.publicArea.objectAttributes |= TPMA_OBJECT.USERWITHAUTH
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=AUTH, data=SECRET))
    with tpm.storage_root() as root:
        private, public, _, _, _ = tpm.esys.create(root, sensitive, template)
        with tpm.loaded(root, public.marshal(), private.marshal(), AUTH) as handle:
            tpm.esys.unseal(handle, session1=ESYS_TR.PASSWORD)


def flip_in(command_code: int) -> Callable[[bytes, bytes], bytes]:
    """Change one byte of the answer's parameter to the command with this code, and of no other."""

    def tamper(command: bytes, answer: bytes) -> bytes:
        if int.from_bytes(command[6:10], "big") != command_code:
            return answer
        return answer[:18] + bytes([answer[18] ^ 1]) + answer[19:]

    return tamper


def test_a_changed_answer_is_noticed(bus):
    with opened(bus.tcti) as enclave:
        blob = enclave.seal(SECRET, (0,))
        bus.tamper = flip_in(0x0000015E)
        with pytest.raises(ProtocolError):
            enclave.unseal(blob)
        bus.tamper = flip_in(0)
        assert enclave.unseal(blob) == SECRET
        assert left_loaded(enclave) == []


def test_another_storage_root_on_the_bus_is_noticed_before_a_session_is_salted_to_it(bus):
    """Whoever answers CreatePrimary could offer a root of his own, and read what is encrypted to it."""
    with opened(bus.tcti) as enclave:
        key, blob = enclave.create_key(KeyUse.SIGN, AUTH, NONCE), enclave.seal(SECRET, (0,))
        root = enclave._run("reading", public_root)  # type: ignore[attr-defined]
        own = root[:-66] + b"\0 ".join(
            number.to_bytes(32, "big") for number in numbers_of(ec.generate_private_key(ec.SECP256R1()))
        )
        bus.tamper = lambda command, answer: answer.replace(root, own).replace(name(root), name(own))
        for use in (lambda: enclave.sign(key, AUTH, DIGEST), lambda: enclave.unseal(blob)):
            bus.heard.clear()
            with pytest.raises(AuthorisationFailed, match="another TPM"):
                use()
            assert root in bus.heard
            assert START_AUTH_SESSION not in bus.heard
        bus.tamper = lambda command, answer: answer
        assert enclave.unseal(blob) == SECRET
        assert START_AUTH_SESSION in bus.heard


def public_root(tpm: Tpm) -> bytes:
    with tpm.primary(ESYS_TR.OWNER, _templates.storage_root()) as (_, public):
        return public


def numbers_of(key: ec.EllipticCurvePrivateKey) -> tuple[int, int]:
    numbers = key.public_key().public_numbers()
    return numbers.x, numbers.y
