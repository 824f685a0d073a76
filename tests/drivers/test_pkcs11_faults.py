"""The PKCS#11 driver where something is wrong: PINs, options, modules, damaged and stalled tokens, leaks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("pkcs11", reason="no python-pkcs11: pip install 'keyvigil[pkcs11]'")

from pkcs11 import exceptions as ck

from drivers.pkcs11 import Pkcs11Driver
from drivers.pkcs11._errors import is_ambiguous, translate
from drivers.pkcs11._token import SEAL_LABEL
from hal import (
    AuthorisationFailed,
    Busy,
    Deadline,
    DeviceError,
    Disconnected,
    KeyUse,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Unsupported,
)
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.softhsm import SoftHsm
from tests.drivers.pkcs11_token import AUTH, DIGEST, NONCE, SECRET, STALL, enclave, opened_elsewhere, rig, token, verify
from tests.drivers.token_rigs import EnclaveRig, options_of
from tests.leaks import leaked, open_descriptors
from tests.on_time import on_time

__all__ = ["enclave", "rig", "token"]


def test_a_wrong_pin_is_named_and_the_right_one_still_opens(rig: EnclaveRig, token: SoftHsm):
    token.write_pin("wrong-pin")
    with pytest.raises(AuthorisationFailed, match="wrong PIN") as caught:
        rig.open()
    assert "pin_file" in caught.value.remedy and "wrong-pin" not in str(caught.value)
    token.right_pin()
    with rig.open() as enclave:
        assert enclave.status().lockout is None


def test_a_locked_token_says_so_and_is_not_tried(rig: EnclaveRig, token: SoftHsm):
    token.inject(FaultOrder(Fault.LOCKOUT))
    with pytest.raises(AuthorisationFailed, match="locked") as caught:
        rig.open()
    assert "security officer" in caught.value.remedy
    token.mend()
    rig.open().close()


def test_the_last_try_is_never_spent(rig: EnclaveRig, token: SoftHsm):
    token.last_try()
    token.write_pin("wrong-pin")
    with pytest.raises(AuthorisationFailed, match="one try"):
        rig.open()
    token.right_pin()
    token.mend()
    rig.open().close()


def test_a_lock_that_comes_while_it_is_open_shows_in_the_status(rig: EnclaveRig, token: SoftHsm):
    with rig.driver.open(rig.other) as other:
        assert other.status().lockout is None
        token.write_pin("wrong-pin")
        with pytest.raises(AuthorisationFailed):
            rig.open()
        assert other.status().lockout is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_pin_that_others_may_read_is_not_used(rig: EnclaveRig, token: SoftHsm, mode: int):
    token.pin_file.chmod(mode)
    with pytest.raises(PermissionDenied) as caught:
        rig.open()
    assert "chmod 600" in caught.value.remedy
    token.pin_file.chmod(0o600)
    rig.open().close()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"1234\n5678\n", b"1" * 300])
def test_a_file_without_a_pin_is_refused(rig: EnclaveRig, token: SoftHsm, content: bytes):
    token.pin_file.write_bytes(content)
    with pytest.raises(Unsupported, match="no PIN"):
        rig.open()


def test_a_pin_file_that_is_missing_a_link_or_no_file_is_refused(rig: EnclaveRig, token: SoftHsm, tmp_path: Path):
    pin = token.pin_file.rename(tmp_path / "elsewhere")
    with pytest.raises(NotFound):
        rig.open()
    token.pin_file.symlink_to(pin)
    with pytest.raises(PermissionDenied):
        rig.open()
    token.pin_file.unlink()
    os.mkfifo(token.pin_file, 0o600)
    with pytest.raises(Unsupported):
        rig.open()


def test_a_missing_module_is_named_with_its_packages(rig: EnclaveRig, tmp_path: Path):
    with pytest.raises(NotFound) as caught:
        rig.open(module=str(tmp_path / "libnone.so"))
    assert "apt-get install" in caught.value.remedy
    (tmp_path / "libnone.so").write_bytes(b"not a library")
    with pytest.raises(Unsupported):
        rig.open(module=str(tmp_path / "libnone.so"))
    rig.open().close()


def test_a_missing_python_package_is_named():
    program = (
        "import sys; sys.modules['pkcs11'] = None\n"
        "from drivers.pkcs11 import Pkcs11Driver; from hal import Unsupported\n"
        "try: Pkcs11Driver().list({'module': '/x'})\n"
        "except Unsupported as error: print(error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "keyvigil[pkcs11]" in done.stdout, done.stderr


def test_a_token_is_chosen_by_label_or_serial_number(rig: EnclaveRig):
    with rig.open() as enclave:
        serial = enclave.info.serial
    with rig.open(token=serial) as again:
        assert again.info.serial == serial
    with pytest.raises(NotFound):
        rig.open(token="nobody's")
    with pytest.raises(Unsupported, match="2 PKCS#11 tokens fit"):
        rig.open(token="")
    assert {info.serial for info in rig.driver.list({**rig.options, "token": serial})} == {serial}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"module": "relative.so"},
        {"module": "/m", "pin": "1234"},
        {"module": "/m", "pin_file": "pin"},
        {"module": "/m", "token": 5},
        {"module": "/m", "token": "x" * 65},
        {"module": "/m", "timeout": 0},
        {"module": "/m", "timeout": True},
        {"module": "/m", "environment": {"A B": "x"}},
        {"module": "/m", "environment": {"A": 1}},
        {"module": "/m"},
    ],
)
def test_wrong_options_are_named_with_a_remedy(options: dict[str, object]):
    with pytest.raises(Unsupported) as caught:
        Pkcs11Driver().open(options)
    assert caught.value.remedy


def test_without_a_module_there_is_nothing_to_list():
    assert list(Pkcs11Driver().list({})) == []


def test_a_token_that_is_taken_away_is_disconnected_and_opens_again_when_it_is_back(rig: EnclaveRig, token: SoftHsm):
    with rig.open() as enclave:
        blob, key = enclave.seal(SECRET, ()), enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    operations = {
        "seal": lambda each: each.seal(SECRET, ()),
        "unseal": lambda each: each.unseal(blob),
        "sign": lambda each: each.sign(key, AUTH, DIGEST),
        "key": lambda each: each.create_key(KeyUse.SIGN, AUTH, NONCE),
        "status": lambda each: each.status(),
    }
    for operate in operations.values():
        enclave = rig.open()
        token.inject(FaultOrder(Fault.UNPLUG))
        with pytest.raises(Disconnected) as caught:
            operate(enclave)
        assert caught.value.remedy
        with pytest.raises(Disconnected):
            enclave.random(1)
        with pytest.raises(NotFound):
            rig.open()
        assert list(rig.driver.list(rig.options)) == []
        token.mend()
        with rig.open() as again:
            assert again.unseal(blob) == SECRET
            verify(key.public, again.sign(key, AUTH, DIGEST))


def test_a_stalled_token_times_out_and_serves_again_once_it_goes_on(rig: EnclaveRig, token: SoftHsm):
    with rig.open() as enclave:
        blob = enclave.seal(SECRET, ())
    stalled = rig.open(timeout=STALL)
    token.inject(FaultOrder(Fault.STALL))
    for attempt in (lambda: stalled.unseal(blob), lambda: rig.driver.open(rig.options, Deadline.after(STALL))):
        with on_time(STALL), pytest.raises(TimedOut):
            attempt()
    with pytest.raises(Disconnected):
        stalled.unseal(blob)
    token.mend()
    with rig.open() as again:
        assert again.unseal(blob) == SECRET


def test_a_damaged_token_refuses_and_is_never_given_a_new_sealing_key_to_unseal(rig: EnclaveRig, token: SoftHsm):
    with rig.open() as enclave:
        blob, key = enclave.seal(SECRET, ()), enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    for rate in (1.0, 0.1, 0.01):
        token.inject(FaultOrder(Fault.CORRUPT, rate=rate, seed=3))
        with pytest.raises(DeviceError), rig.open() as enclave:
            enclave.unseal(blob)
            enclave.sign(key, AUTH, DIGEST)
        token.mend()
    with rig.open() as again:
        assert again.unseal(blob) == SECRET


def test_a_store_that_may_not_be_read_is_denied(rig: EnclaveRig, token: SoftHsm):
    wrapper: list[str] = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv, to give up the superuser's right to read everything")
        drop = "-dac_override,-dac_read_search"
        wrapper = ["setpriv", "--bounding-set", drop, "--inh-caps", drop]
    assert opened_elsewhere(rig, wrapper) == "opened"
    token.inject(FaultOrder(Fault.PERMISSION_DENIED))
    assert opened_elsewhere(rig, wrapper) == "PermissionDenied"
    token.mend()
    assert opened_elsewhere(rig, wrapper) == "opened"


def test_another_configuration_of_a_running_module_is_refused(rig: EnclaveRig, tmp_path: Path):
    with rig.open(), SoftHsm(tmp_path / "elsewhere", "third") as third, pytest.raises(Busy, match="environment"):
        rig.driver.open(options_of(third))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ck.PinIncorrect(), AuthorisationFailed),
        (ck.PinLocked(), AuthorisationFailed),
        (ck.PinExpired(), AuthorisationFailed),
        (ck.EncryptedDataInvalid(), AuthorisationFailed),
        (ck.DeviceRemoved(), Disconnected),
        (ck.TokenNotPresent(), Disconnected),
        (ck.SessionHandleInvalid(), Disconnected),
        (ck.UserNotLoggedIn(), Disconnected),
        (ck.SessionCount(), Busy),
        (ck.UserAlreadyLoggedIn(), Busy),
        (ck.DeviceMemory(), DeviceError),
        (ck.TokenWriteProtected(), PermissionDenied),
        (ck.MechanismInvalid(), Unsupported),
        (ck.RandomNoRNG(), Unsupported),
        (ck.HostMemory(), ProtocolError),
        (ck.PKCS11Error("a vendor's own"), ProtocolError),
        (AttributeError("an object of another kind"), ProtocolError),
    ],
)
def test_every_answer_has_its_error_and_a_remedy(error: Exception, kind: type[DeviceError]):
    found = translate(error, "signing")
    assert type(found) is kind and "signing" in str(found) and found.remedy
    assert not is_ambiguous(error)


def test_an_answer_that_says_little_means_wrong_data_only_where_data_was_opened():
    assert is_ambiguous(ck.GeneralError())
    assert type(translate(ck.GeneralError(), "x", opening_data=True)) is AuthorisationFailed
    assert type(translate(ck.GeneralError(), "x")) is ProtocolError


def test_no_error_tells_the_pin_or_a_secret(rig: EnclaveRig, token: SoftHsm):
    pin = token.pin_file.read_text().strip()
    with rig.open() as enclave:
        key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
        for bad in (lambda: enclave.sign(key, b"no", DIGEST), lambda: enclave.unseal(b"KVP11SEA\x01" + bytes(40))):
            with pytest.raises(DeviceError) as caught:
                bad()
            assert not re.search(f"{pin}|{AUTH.hex()}", repr(caught.value) + caught.value.remedy)


def test_opening_and_closing_leaks_nothing(rig: EnclaveRig, rounds: int = 30):
    rig.open().close()
    before, threads = open_descriptors(), threading.active_count()
    for _ in range(rounds):
        with rig.open() as enclave:
            enclave.random(8)
    assert not leaked(before, rounds)
    assert threading.active_count() <= threads


def test_openings_that_fail_leak_nothing(rig: EnclaveRig, token: SoftHsm):
    rig.open().close()
    before, threads = open_descriptors(), threading.active_count()
    token.write_pin("wrong-pin")
    for _ in range(10):
        with pytest.raises(AuthorisationFailed):
            rig.open()
    token.right_pin()
    for _ in range(10):
        with pytest.raises(NotFound):
            rig.open(token="nobody's")
    assert not leaked(before, 20)
    assert threading.active_count() <= threads
    rig.open().close()


@pytest.mark.slow
def test_a_thousand_openings_leak_nothing(rig: EnclaveRig):
    test_opening_and_closing_leaks_nothing(rig, 1000)


def test_a_sealing_key_that_somebody_left_there_and_may_know_is_not_used(rig: EnclaveRig, token: SoftHsm):
    """Whoever had the token before, an integrator for instance, could have made it so that it can leave."""
    leave_key(token)
    with rig.open() as opened, pytest.raises(ProtocolError, match="was imported") as refused:
        opened.seal(SECRET, ())
    assert "delete-object" in refused.value.remedy


def leave_key(token: SoftHsm) -> None:
    code = (
        "import os, sys, pkcs11\n"
        "from pkcs11 import Attribute, KeyType, ObjectClass\n"
        "module, label, pin, name = sys.argv[1:]\n"
        "session = pkcs11.lib(module).get_token(token_label=label).open(rw=True, user_pin=pin)\n"
        "session.create_object({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES,\n"
        "  Attribute.VALUE: bytes(32), Attribute.TOKEN: True, Attribute.LABEL: name, Attribute.PRIVATE: True,\n"
        "  Attribute.ENCRYPT: True, Attribute.DECRYPT: True,\n"
        "  Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False})\n"
    )
    arguments = [str(token.module), token.label, token.pin_file.read_text().strip(), SEAL_LABEL]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env={**os.environ, **token.environment()})


@pytest.mark.parametrize("mode", [0o666, 0o775])
def test_a_module_that_others_may_replace_is_not_loaded(rig: EnclaveRig, token: SoftHsm, tmp_path: Path, mode: int):
    module = tmp_path / "module.so"
    shutil.copy(token.module, module)
    module.chmod(mode)
    for use in (rig.driver.list, rig.driver.open):
        with pytest.raises(PermissionDenied, match="may be changed by others") as refused:
            use({**rig.options, "module": str(module)})
        assert "chmod" in refused.value.remedy
