"""A TPM behind a bus on which somebody listens, or changes what is said."""

from __future__ import annotations

import hashlib
import hmac
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import ESYS_TR, TPM2_SE, TPM2B_SENSITIVE_CREATE, TPMA_OBJECT, TPMS_SENSITIVE_CREATE

from authority.tpm import make_credential, name
from drivers.tpm2 import _guard, _templates
from drivers.tpm2._blob import SealedBlob
from drivers.tpm2._nv import PIN, NvIndices
from drivers.tpm2._tpm import ENCRYPT, Tpm
from hal import AuthorisationFailed, GuardedKey, KeyUse, OwnerAuth, ProtocolError, SealAuthority
from simulators.devices.swtpm import Swtpm
from simulators.devices.tpm_bus import TpmBus
from tests.drivers.software_tpm import DIGEST, NONCE, approve, left_loaded, on_tpm, opened, point

SECRET = b"a secret that must not be heard!"
AUTH = b"an authorisation value, likewise"
NUMBER = b"a PIN that must not be heard too"
OWNER = b"the owner's own authorisation"
AUTH32 = b"\x5a" * 32
PIN_AUTH = hashlib.sha256(b"keyvigil pin 1\0" + NUMBER).digest()
START_AUTH_SESSION = b"\x00\x00\x01\x76\x80"
"""Command code, and the first byte of the handle of a transient key to salt to."""
UNSEAL, NV_READ, NV_INCREMENT = 0x15E, 0x14E, 0x134


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Swtpm]:
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def bus(emulator: Swtpm) -> TpmBus:
    return emulator.bus


def test_a_listener_on_the_bus_hears_no_secret(emulator, bus):
    peer = ec.generate_private_key(ec.SECP256R1())
    with opened(emulator) as enclave:
        assert enclave.unseal(enclave.seal(SECRET, (0,))) == SECRET
        enclave.sign(enclave.create_key(KeyUse.SIGN, AUTH, NONCE), AUTH, DIGEST)
        shared = enclave.agree(enclave.create_key(KeyUse.AGREE, AUTH, NONCE), AUTH, point(peer))
        drawn = enclave.random(32)
        ek, ak = enclave.endorsement().ek_public, enclave.attestation_key()
        made = make_credential(ek, name(ak), SECRET, lambda count: bytes(range(1, count + 1)))
        assert enclave.activate(made.blob, made.encrypted_secret) == SECRET
    assert ak in bus.heard
    for secret in (SECRET, AUTH, shared, drawn):
        assert secret not in bus.heard


def test_a_listener_hears_neither_pin_nor_measurement_nor_approved_secret(emulator, bus):
    key = ec.generate_private_key(ec.SECP256R1())
    authority = SealAuthority(point(key), b"purpose", "floor")
    with opened(emulator) as enclave:
        enclave.set_pin("door", NUMBER, 3)
        enclave.try_pin("door", NUMBER)
        with pytest.raises(AuthorisationFailed):
            enclave.try_pin("door", NUMBER[::-1])
        assert enclave.measure("agent", DIGEST)
        blob = enclave.seal(SECRET, (), authority)
        assert enclave.unseal(blob, approve(enclave, key, authority, 100)) == SECRET
    assert PIN.mark("door") in bus.heard
    for secret in (NUMBER, PIN_AUTH, DIGEST, SECRET):
        assert secret not in bus.heard


def test_without_the_sessions_the_same_listener_hears_everything(emulator, bus):
    """The control of the tests above: password authorisation, as a simpler driver would use."""
    with opened(emulator) as enclave:
        on_tpm(enclave, seal_in_the_clear)
        on_tpm(enclave, set_pin_in_the_clear)
    for secret in (SECRET, AUTH, PIN_AUTH):
        assert secret in bus.heard


def seal_in_the_clear(tpm: Tpm) -> None:
    template = _templates.sealed_object(b"")
    template.publicArea.objectAttributes |= TPMA_OBJECT.USERWITHAUTH
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=AUTH, data=SECRET))
    with tpm.storage_root() as root:
        private, public, _, _, _ = tpm.esys.create(root, sensitive, template)
        with tpm.loaded(root, public.marshal(), private.marshal(), AUTH) as handle:
            tpm.esys.unseal(handle, session1=ESYS_TR.PASSWORD)


class InTheClear(NvIndices):
    """The driver's own commands, with a password in place of its session."""

    def __init__(self, tpm: Tpm) -> None:
        super().__init__(tpm, None)

    def _protected(self, which: int) -> object:
        return ESYS_TR.PASSWORD


def set_pin_in_the_clear(tpm: Tpm) -> None:
    nv = InTheClear(tpm)
    number, _ = nv.ensure(PIN, "door", PIN_AUTH)
    nv.write_by_owner(number, bytes(4) + bytes([0, 0, 0, 3]))
    assert nv.read(number, PIN, PIN_AUTH)


def set_owner_auth(tpm: Tpm) -> None:
    tpm.esys.hierarchy_change_auth(ESYS_TR.OWNER, OWNER)


def test_the_owner_s_authorisation_is_used_and_never_heard(emulator, tmp_path):
    file = tmp_path / "owner-auth"
    file.write_bytes(OWNER + b"\n")
    file.chmod(0o600)
    with opened(emulator) as enclave:
        blob = enclave.seal(SECRET, (0,))
        on_tpm(enclave, set_owner_auth)
    bus = emulator.bus
    with opened(emulator, owner_auth_file=str(file)) as enclave:
        assert enclave.unseal(blob) == SECRET
        enclave.set_pin("door", NUMBER, 3)
        assert enclave.pin_state("door").limit == 3
        assert enclave.counter("counter") >= 1
        assert left_loaded(enclave) == []
    with opened(emulator) as enclave, pytest.raises(AuthorisationFailed) as caught:
        enclave.unseal(blob)
    assert "owner_auth_file" in caught.value.remedy
    assert OWNER not in bus.heard
    with opened(emulator, owner_auth_file=str(file)) as enclave:
        on_tpm(enclave, use_owner_auth_in_the_clear)
    assert OWNER in bus.heard


def use_owner_auth_in_the_clear(tpm: Tpm) -> None:
    """The control: the same command with a password session."""
    with tpm.flushed(tpm.esys.create_primary(None, _templates.storage_root(), ESYS_TR.OWNER)[0]):
        pass


def test_without_the_owner_s_authorisation_a_kept_storage_root_serves(emulator):
    with opened(emulator) as enclave:
        blob = enclave.seal(SECRET, (0,))
        enclave.counter("counter")
        on_tpm(enclave, keep_storage_root)
        on_tpm(enclave, set_owner_auth)
    with opened(emulator) as enclave:
        assert enclave.unseal(blob) == SECRET
        value = enclave.counter("counter")
        assert enclave.advance("counter") == value + 1
        with pytest.raises(AuthorisationFailed) as caught:
            enclave.counter("new")
        assert "owner_auth_file" in caught.value.remedy
        assert left_loaded(enclave) == []


def keep_storage_root(tpm: Tpm) -> None:
    with tpm.storage_root() as root:
        tpm.esys.tr_close(tpm.esys.evict_control(ESYS_TR.OWNER, root, 0x81000001))


def flip_in(command_code: int) -> Callable[[bytes, bytes], bytes]:
    """Change one byte of the answer's parameter to the command with this code, and of no other."""

    def tamper(command: bytes, answer: bytes) -> bytes:
        if int.from_bytes(command[6:10], "big") != command_code:
            return answer
        return answer[:18] + bytes([answer[18] ^ 1]) + answer[19:]

    return tamper


def test_a_changed_answer_is_noticed(emulator, bus):
    with opened(emulator) as enclave:
        blob, value = enclave.seal(SECRET, (0,)), enclave.counter("counter")
        for code, work in ((UNSEAL, lambda: enclave.unseal(blob)), (NV_READ, lambda: enclave.counter("counter"))):
            bus.tamper = flip_in(code)
            with pytest.raises(ProtocolError):
                work()
        bus.tamper = None
        assert (enclave.unseal(blob), enclave.counter("counter")) == (SECRET, value)
        assert left_loaded(enclave) == []


def test_a_step_of_the_counter_that_never_reached_the_tpm_is_noticed(emulator, bus):
    """Whoever answers in the TPM's place cannot: the answer is authenticated by the session."""
    with opened(emulator) as enclave:
        enclave.counter("counter")
        bus.tamper = lambda command, answer: (
            answer[:-8] + bytes(8) if int.from_bytes(command[6:10], "big") == NV_INCREMENT else answer
        )
        with pytest.raises(ProtocolError):
            enclave.advance("counter")


def own_root(enclave: object) -> tuple[bytes, bytes]:
    """The public area of the TPM's storage root, and of one that the attacker has the private key of."""
    root = on_tpm(enclave, public_root)
    x, y = numbers_of(ec.generate_private_key(ec.SECP256R1()))
    return root, root[:-66] + x.to_bytes(32, "big") + b"\0 " + y.to_bytes(32, "big")


def test_another_storage_root_on_the_bus_is_noticed_before_a_session_is_salted_to_it(emulator, bus):
    """Whoever answers CreatePrimary could offer a root of his own, and read what is encrypted to it."""
    with opened(emulator) as enclave:
        key, blob = enclave.create_key(KeyUse.SIGN, AUTH, NONCE), enclave.seal(SECRET, (0,))
    with opened(emulator) as enclave:
        root, own = own_root(enclave)
    bus.tamper = lambda command, answer: answer.replace(root, own).replace(name(root), name(own))
    for use in (lambda fresh: fresh.sign(key, AUTH, DIGEST), lambda fresh: fresh.unseal(blob)):
        with opened(emulator) as fresh:
            bus.heard.clear()
            with pytest.raises(AuthorisationFailed, match="another TPM"):
                use(fresh)
            assert root in bus.heard
            assert START_AUTH_SESSION not in bus.heard
    bus.tamper = None
    with opened(emulator) as fresh:
        assert fresh.unseal(blob) == SECRET
    assert START_AUTH_SESSION in bus.heard


def test_a_storage_root_that_changes_while_the_tpm_is_open_is_noticed_by_every_operation(emulator, bus):
    with opened(emulator) as enclave:
        enclave.set_pin("door", NUMBER, 3)
        root, own = own_root(enclave)
        bus.tamper = lambda command, answer: answer.replace(root, own).replace(name(root), name(own))
        for use in (
            lambda: enclave.try_pin("door", NUMBER),
            lambda: enclave.set_pin("door", NUMBER, 3),
            lambda: enclave.seal(SECRET, (0,)),
            lambda: enclave.create_key(KeyUse.SIGN, AUTH, NONCE),
        ):
            bus.heard.clear()
            with pytest.raises(AuthorisationFailed, match="another TPM"):
                use()
            assert START_AUTH_SESSION not in bus.heard
        bus.tamper = None
        enclave.try_pin("door", NUMBER)


def public_root(tpm: Tpm) -> bytes:
    with tpm.primary(ESYS_TR.OWNER, _templates.storage_root()) as (_, public):
        return public


def numbers_of(key: ec.EllipticCurvePrivateKey) -> tuple[int, int]:
    numbers = key.public_key().public_numbers()
    return numbers.x, numbers.y


def test_a_listener_hears_nothing_of_a_guarded_key(emulator, bus):
    """The control: the parts that are no secret are heard, and that listener hears PINs in the clear above."""
    reset_key = ec.generate_private_key(ec.SECP256R1())
    pins, auth = (b"\x01a PIN of thirty-two bytes, the 1st", b"\x02a PIN of thirty-two bytes, the 2nd"), b"A" * 32
    first, second = (pin[:32] for pin in pins)
    with opened(emulator) as enclave:
        key = enclave.create_guarded_key("alice", first, auth, 3, point(reset_key), NONCE)
        enclave.guarded_sign(key, first, auth, DIGEST)
        enclave.change_pin(key, first, second)
        with pytest.raises(AuthorisationFailed):
            enclave.guarded_sign(key, first, auth, DIGEST)
        value = on_tpm(enclave, lambda tpm: gate_of(tpm, key, second))
        enclave.guard_state(key)
        enclave.reset_nonce(key)
    assert key.index.public in bus.heard
    for secret in (first, second, auth, value, hmac.digest(value, b"keyvigil guarded key 1\0" + auth, "sha256")):
        assert secret not in bus.heard


def gate_of(tpm: Tpm, key: GuardedKey, pin: bytes) -> bytes:
    """The half of the authorisation value that the gate holds, as the driver gets it."""
    with (
        tpm.storage_root() as root,
        tpm.known(_guard.handle_of(key)) as index,
        tpm.session(root, 0) as plain,
        tpm.session(root, ENCRYPT, TPM2_SE.POLICY) as policy,
    ):
        tpm.esys.tr_set_auth(index, pin)
        return _guard._opened(tpm, root, SealedBlob.unpack(key.gate), _guard._Answer(index, plain, policy))


def test_ownership_is_taken_without_a_word_of_it_on_the_bus(emulator, bus):
    reset_key = ec.generate_private_key(ec.SECP256R1())
    new, newer = (
        OwnerAuth(b"\x01" * 31 + b"o", b"\x02" * 31 + b"l"),
        OwnerAuth(b"\x03" * 31 + b"p", b"\x02" * 31 + b"l"),
    )
    with opened(emulator) as enclave:
        enclave.take_ownership(new)
        enclave.take_ownership(newer, new)
        key = enclave.create_guarded_key("alice", AUTH32, AUTH32, 3, point(reset_key), NONCE, owner=newer.owner)
        enclave.remove_guard(key, owner=newer.owner)
        assert left_loaded(enclave) == []
    for value in (new.owner, new.lockout, newer.owner):
        assert value not in bus.heard
