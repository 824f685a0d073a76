"""The software enclave: what it can do, what it refuses, and what survives a bad disk."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from drivers.software_enclave import SoftwareEnclaveDriver
from drivers.software_enclave._keys import MasterKey
from hal import (
    AuthorisationFailed,
    Busy,
    Capability,
    CertifiedKey,
    Deadline,
    DeviceError,
    Disconnected,
    Enclave,
    EnclaveKind,
    KeyUse,
    NotFound,
    PermissionDenied,
    ProtocolError,
    SealAuthority,
    Transport,
    Unsupported,
)
from simulators.devices.faults import Fault, FaultOrder
from tests.drivers.token_rigs import EnclaveRig, software_rig
from tests.leaks import leaked, open_descriptors
from tests.on_time import on_time

NONCE, AUTH, DIGEST = bytes(range(32)), b"\x5a" * 32, b"\xd1" * 32
SECRET = b"a secret that lies in a file"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[EnclaveRig]:
    with software_rig(tmp_path) as made:
        yield made


@pytest.fixture
def enclave(rig: EnclaveRig) -> Iterator[Enclave]:
    with rig.open() as opened:
        yield opened


def verify(public: bytes, signature: bytes, digest: bytes = DIGEST) -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    halves = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(utils.encode_dss_signature(*halves), digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def test_it_says_that_it_is_software(enclave: Enclave):
    assert enclave.kind is EnclaveKind.SOFTWARE
    assert enclave.info.transport is Transport.SOFTWARE
    assert enclave.info.capabilities == {Capability.SIGN, Capability.AGREE, Capability.SEAL, Capability.COUNTER}
    assert "software" in enclave.status().model and enclave.status().lockout is None


def test_a_key_signs_with_its_authorisation_value_only(enclave: Enclave):
    key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    verify(key.public, enclave.sign(key, AUTH, DIGEST))
    for wrong in (b"", AUTH[:-1], b"\x5b" * 32):
        with pytest.raises(AuthorisationFailed):
            enclave.sign(key, wrong, DIGEST)


def test_a_key_agrees_as_anybody_computes_it(enclave: Enclave):
    key, peer = enclave.create_key(KeyUse.AGREE, b"", NONCE), ec.generate_private_key(ec.SECP256R1())
    point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    mine = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public)
    assert enclave.agree(key, b"", point) == peer.exchange(ec.ECDH(), mine)


def test_a_key_has_one_use(enclave: Enclave):
    signer, agreer = (enclave.create_key(use, AUTH, NONCE) for use in (KeyUse.SIGN, KeyUse.AGREE))
    with pytest.raises(AuthorisationFailed):
        enclave.sign(agreer, AUTH, DIGEST)
    with pytest.raises(AuthorisationFailed):
        enclave.agree(signer, AUTH, signer.public)


def test_what_is_sealed_opens_here_only(rig: EnclaveRig, enclave: Enclave):
    blob, key = enclave.seal(SECRET, ()), enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    assert enclave.unseal(blob) == SECRET and SECRET not in blob
    for at in range(len(blob)):
        with pytest.raises(AuthorisationFailed):
            enclave.unseal(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
    with rig.driver.open(rig.other) as other:
        with pytest.raises(AuthorisationFailed):
            other.unseal(blob)
        with pytest.raises(AuthorisationFailed):
            other.sign(key, AUTH, DIGEST)


def test_what_it_lacks_is_refused(enclave: Enclave):
    with pytest.raises(Unsupported):
        enclave.seal(SECRET, (0, 7))
    with pytest.raises(Unsupported):
        enclave.seal(SECRET, (), SealAuthority(b"\x04" + bytes(64), b"x"))
    for refused in (
        enclave.attestation_key,
        enclave.endorsement,
        enclave.lockout,
        lambda: enclave.quote(NONCE, (0,)),
        lambda: enclave.report(NONCE),
        lambda: enclave.certify_counter("x", NONCE),
        lambda: enclave.measure("x", NONCE),
        lambda: enclave.set_pin("x", b"1", 3),
    ):
        with pytest.raises(Unsupported):
            refused()


def test_arguments_out_of_range_are_a_mistake_of_the_caller(enclave: Enclave):
    key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    for wrong in (
        lambda: enclave.seal(b"", ()),
        lambda: enclave.seal(bytes(129), ()),
        lambda: enclave.random(4097),
        lambda: enclave.sign(key, AUTH, b"short"),
        lambda: enclave.create_key(KeyUse.SIGN, bytes(33), NONCE),
        lambda: enclave.create_key(KeyUse.SIGN, AUTH, b""),
        lambda: enclave.agree(key, AUTH, b"\x04" + bytes(64)),
        lambda: enclave.counter("Not a label"),
        lambda: enclave.counter("../master"),
    ):
        with pytest.raises(ValueError, match=r"bytes|point|label"):
            wrong()


def test_everything_survives_closing(rig: EnclaveRig):
    with rig.open() as first:
        blob, key, serial = first.seal(SECRET, ()), first.create_key(KeyUse.SIGN, AUTH, NONCE), first.info.serial
        assert (first.counter("c"), first.advance("c"), first.advance("c")) == (0, 1, 2)
    with pytest.raises(Disconnected):
        first.unseal(blob)
    first.close()
    with rig.open() as again:
        assert (again.unseal(blob), again.counter("c"), again.info.serial) == (SECRET, 2, serial)
        verify(key.public, again.sign(key, AUTH, DIGEST))
        again.forget("c")
        assert again.counter("c") == 3 == again.counter("new"), "never below an earlier one"


def test_a_counter_put_back_from_a_copy_goes_unnoticed_and_a_damaged_one_does_not(rig: EnclaveRig):
    """The first half is a limit that docs/drivers/enclaves.md states; the second is all that a file can do."""
    file = Path(rig.options["folder"]) / "counter-c"
    with rig.open() as enclave:
        enclave.advance("c")
        old = file.read_bytes()
        enclave.advance("c")
        file.write_bytes(old)
        assert enclave.counter("c") == 1
        file.write_bytes(old[:7] + b"\x09" + old[8:])
        with pytest.raises(ProtocolError, match="damaged"):
            enclave.counter("c")


def test_every_file_is_private_and_none_holds_a_private_key_in_clear(rig: EnclaveRig):
    with rig.open() as enclave:
        enclave.advance("c")
        enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    folder = Path(rig.options["folder"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == {"lock", "master.key", "counter-c"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_master_key_that_others_may_read_is_refused(rig: EnclaveRig, mode: int):
    rig.open().close()
    file = Path(rig.options["folder"]) / "master.key"
    file.chmod(mode)
    with pytest.raises(PermissionDenied) as caught:
        rig.open()
    assert "chmod" in caught.value.remedy
    file.chmod(0o600)
    rig.open().close()


def test_a_link_in_place_of_the_master_key_is_refused(rig: EnclaveRig, tmp_path: Path):
    rig.open().close()
    file = Path(rig.options["folder"]) / "master.key"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionDenied):
        rig.open()


def test_one_claimant_at_a_time(rig: EnclaveRig):
    with rig.open():
        with pytest.raises(Busy):
            rig.open()
        with on_time(0.8), pytest.raises(Busy):
            rig.driver.open({**rig.options, "timeout": 5}, Deadline.after(0.1))
        program = (
            "import sys; from drivers.software_enclave import SoftwareEnclaveDriver as D; from hal import Busy\n"
            "try: D().open({'folder': sys.argv[1]})\n"
            "except Busy: print('busy')\n"
        )
        argv = [sys.executable, "-c", program, rig.options["folder"]]
        assert subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout == "busy\n"
    rig.open().close()


def test_a_killed_process_leaves_the_enclave_usable(rig: EnclaveRig):
    """Killed while it advances a counter without end: the next one finds a whole file with one of its values."""
    with rig.open() as enclave:
        blob = enclave.seal(SECRET, ())
    program = (
        "import sys; from drivers.software_enclave import SoftwareEnclaveDriver as D\n"
        "enclave = D().open({'folder': sys.argv[1]})\n"
        "while True: print(enclave.advance('c'), flush=True)\n"
    )
    last = 0
    for _ in range(3):
        argv = [sys.executable, "-c", program, rig.options["folder"]]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            seen = [int(process.stdout.readline()) for _ in range(20)]
            process.send_signal(signal.SIGKILL)
            seen += [int(line) for line in process.stdout.read().split()]
        with rig.open() as enclave:
            found = enclave.counter("c")
            assert enclave.unseal(blob) == SECRET
        assert seen[0] > last and found in {seen[-1], seen[-1] + 1}
        last = found


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault.CORRUPT, ProtocolError),
        (Fault.PERMISSION_DENIED, PermissionDenied),
        (Fault.UNPLUG, NotFound),
        (Fault.NV_FULL, DeviceError),
    ],
)
def test_a_fault_is_named_and_mended(rig: EnclaveRig, fault: Fault, expected: type[DeviceError]):
    with rig.open() as enclave:
        blob, count = enclave.seal(SECRET, ()), enclave.advance("c")
        try:
            rig.device.inject(FaultOrder(fault, rate=0.2, seed=5))
        except PermissionDenied as error:
            pytest.skip(str(error))
        with pytest.raises(expected) as caught:
            enclave.advance("c")
        assert caught.value.remedy
    rig.device.mend()
    with rig.open() as again:
        assert (again.unseal(blob), again.counter("c"), again.advance("c")) == (SECRET, count, count + 1)


@pytest.mark.parametrize("fault", [Fault.CORRUPT, Fault.PERMISSION_DENIED])
def test_a_folder_that_cannot_be_used_is_not_opened(rig: EnclaveRig, fault: Fault):
    rig.open().close()
    rig.device.inject(FaultOrder(fault, rate=0.2))
    with pytest.raises((ProtocolError, PermissionDenied)):
        rig.open()
    rig.device.mend()
    rig.open().close()


def test_a_removed_folder_does_not_become_a_new_enclave_under_the_old_one(rig: EnclaveRig):
    """A missing counter file must not read as a counter that was never made."""
    with rig.open() as enclave:
        enclave.advance("c")
        rig.device.inject(FaultOrder(Fault.UNPLUG))
        with pytest.raises(NotFound):
            enclave.counter("c")


@pytest.mark.parametrize(
    "options", [{}, {"folder": "relative"}, {"folder": 5}, {"folder": "/x", "timeout": -1}, {"folder": "/x", "pin": ""}]
)
def test_wrong_options_are_named_with_a_remedy(options: dict[str, object]):
    with pytest.raises(Unsupported) as caught:
        SoftwareEnclaveDriver().open(options)
    assert caught.value.remedy


def test_it_is_listed_once_it_was_made(rig: EnclaveRig):
    assert list(rig.driver.list({})) == [] == list(rig.driver.list(rig.options))
    rig.open().close()
    assert [info.port for info in rig.driver.list(rig.options)] == [rig.options["folder"]]


@given(st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=32))
def test_no_bytes_surface_as_another_error(private: bytes, public: bytes, auth: bytes):
    master = MasterKey(bytes(32))
    for data in (private, b"KVSWKEY\x01" + private, b"KVSWSEAL\x01" + private):
        for use in KeyUse:
            with pytest.raises(AuthorisationFailed):
                master.load(use, CertifiedKey(public, data), auth)
        with pytest.raises(AuthorisationFailed):
            master.unseal(data)
        assert master.unpack_counter("counter-c", data) is None


def test_opening_and_closing_leaks_nothing(rig: EnclaveRig, rounds: int = 100):
    rig.open().close()
    before = open_descriptors()
    for _ in range(rounds):
        rig.open().close()
    assert not leaked(before, rounds)


@pytest.mark.slow
def test_a_thousand_openings_leak_nothing(rig: EnclaveRig):
    test_opening_and_closing_leaks_nothing(rig, 1000)


def test_listing_neither_waits_for_nor_reads_what_is_no_key_of_ours(rig: EnclaveRig, tmp_path: Path):
    """A folder that somebody else made may hold a FIFO, or a link to a file that is none of this driver's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    options = {"folder": str(folder)}
    os.mkfifo(folder / "master.key")
    listed = subprocess.run(
        [sys.executable, "-c", LIST, str(folder)], capture_output=True, text=True, timeout=30, check=False
    )
    assert listed.stdout.split() == ["''"], listed.stderr
    (folder / "master.key").unlink()
    with rig.open():
        pass
    (folder / "master.key").symlink_to(Path(rig.options["folder"]) / "master.key")
    assert [found.serial for found in rig.driver.list(options)] == [""]
    assert [bool(found.serial) for found in rig.driver.list(rig.options)] == [True]


LIST = """
import sys
from drivers.software_enclave import SoftwareEnclaveDriver
print(*(repr(found.serial) for found in SoftwareEnclaveDriver().list({"folder": sys.argv[1]})))
"""


@pytest.mark.parametrize("folder", ["/" + "a" * 300, "/proc/self/mem/x"])
def test_a_folder_that_cannot_be_is_listed_as_none(folder: str):
    assert SoftwareEnclaveDriver().list({"folder": folder}) == []
