"""Every fault that an emulated TPM plays, seen through the driver: the right error in time, and all well after it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

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
)
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.drivers.software_tpm import AUTH, DIGEST, NONCE, left_loaded, on_tpm, opened
from tests.drivers.test_tpm2 import misuse_a_protected_key
from tests.on_time import on_time

SECONDS = 0.5
SECRET = b"secret"


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def emulator(factory: SwtpmFactory, tmp_path: Path) -> Iterator[Swtpm]:
    with Swtpm(factory.fresh(tmp_path / "tpm")) as running:
        yield running


def in_time(work: Callable[[], object], *kinds: type[DeviceError]) -> DeviceError:
    """The error of `work`, which is one of `kinds`, has a remedy, and came by the deadline and a tenth."""
    with on_time(SECONDS), pytest.raises(DeviceError) as caught:
        work()
    assert type(caught.value) in kinds, repr(caught.value)
    assert caught.value.remedy
    return caught.value


def exercise(enclave: Enclave, blob: bytes) -> None:
    """The TPM does everything again, and keeps nothing loaded."""
    assert enclave.unseal(blob) == SECRET
    enclave.quote(NONCE, (0, 7))
    key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    assert len(enclave.sign(key, AUTH, DIGEST)) == 64
    value = enclave.counter("counter")
    assert enclave.advance("counter") == value + 1
    enclave.set_pin("pin", b"1234", 3)
    enclave.try_pin("pin", b"1234")
    assert left_loaded(enclave) == []
    status = enclave.status()
    assert (status.free_objects, status.free_sessions) == (3, 3)


CASES = [
    (FaultOrder(Fault.UNPLUG), {Disconnected}, {NotFound}),
    (FaultOrder(Fault.UNPLUG, after=4), {Disconnected}, {NotFound}),
    (FaultOrder(Fault.STALL), {TimedOut}, {TimedOut}),
    pytest.param(FaultOrder(Fault.STALL, after=4), {TimedOut}, {TimedOut}, marks=pytest.mark.slow),
    (FaultOrder(Fault.BUSY), {TimedOut}, {Busy}),
    (FaultOrder(Fault.SLOW, seconds=SECONDS), {TimedOut}, {TimedOut, Busy}),
    (FaultOrder(Fault.SHORT_READ), {Disconnected}, {ProtocolError}),
    (FaultOrder(Fault.SHORT_READ, after=4), {Disconnected}, {ProtocolError}),
    (FaultOrder(Fault.CORRUPT, seed=1), {ProtocolError}, {ProtocolError}),
    (FaultOrder(Fault.CORRUPT, after=5, seed=2), {ProtocolError}, {ProtocolError}),
    (FaultOrder(Fault.WRONG_DESCRIPTOR), {ProtocolError}, {ProtocolError}),
    pytest.param(FaultOrder(Fault.WRONG_DESCRIPTOR, after=3), {ProtocolError}, {ProtocolError}, marks=pytest.mark.slow),
]


def named(value: object) -> str:
    """A readable name of an order."""
    return f"{value.fault}-after-{value.after}" if isinstance(value, FaultOrder) else ""


@pytest.mark.parametrize(("order", "held", "opening"), CASES, ids=named)
def test_a_fault_of_wire_or_power(emulator, order, held, opening):
    with opened(emulator, timeout=SECONDS) as enclave:
        blob = enclave.seal(SECRET, (0, 7))
        emulator.inject(order)
        in_time(lambda: enclave.unseal(blob), *held)
    in_time(lambda: opened(emulator, timeout=SECONDS).close(), *opening)
    emulator.mend()
    with opened(emulator, timeout=5) as again:
        exercise(again, blob)


def test_without_a_fault_none_of_that_happens(emulator):
    with opened(emulator, timeout=SECONDS) as enclave:
        exercise(enclave, enclave.seal(SECRET, (0, 7)))
    emulator.mend()
    with opened(emulator) as again:
        exercise(again, again.seal(SECRET, (0, 7)))


@pytest.mark.parametrize("seed", range(3))
def test_a_few_corrupt_bytes_never_give_a_wrong_secret(emulator, seed):
    with opened(emulator, timeout=SECONDS) as enclave:
        blob = enclave.seal(SECRET, (0, 7))
        emulator.inject(FaultOrder(Fault.CORRUPT, rate=0.01, seed=seed))
        for _ in range(5):
            try:
                assert enclave.unseal(blob) == SECRET
            except DeviceError as error:
                assert error.remedy
    emulator.mend()
    with opened(emulator, timeout=5) as again:
        exercise(again, blob)


def test_a_slow_tpm_that_is_in_time_still_serves(emulator):
    with opened(emulator, timeout=5) as enclave:
        blob = enclave.seal(SECRET, (0, 7))
        emulator.inject(FaultOrder(Fault.SLOW, seconds=0.01))
        assert enclave.unseal(blob) == SECRET


def test_a_device_without_permission_is_said_to_be_one(emulator):
    """As another user: root may open everything."""
    folder = Path(emulator.tcti.removeprefix("swtpm:path=")).parent
    folder.chmod(0o755)
    emulator.inject(FaultOrder(Fault.PERMISSION_DENIED))
    program = (
        "import os, sys; from drivers.tpm2 import Tpm2Driver, _enclave; from hal import DeviceError\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        f"try: Tpm2Driver().open({{'tcti': {emulator.tcti!r}, 'timeout': {SECONDS}}})\n"
        "except DeviceError as error: print(type(error).__name__, error.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("PermissionDenied Run as the user of the emulator"), done.stdout + done.stderr
    emulator.mend()
    with opened(emulator) as again:
        exercise(again, again.seal(SECRET, (0, 7)))
    if os.geteuid() != 0:
        with opened(emulator):
            pass


def test_a_locked_tpm_still_serves_and_says_so(emulator):
    with opened(emulator, timeout=SECONDS) as enclave:
        blob = enclave.seal(SECRET, (0, 7))
        emulator.inject(FaultOrder(Fault.LOCKOUT))
        assert enclave.status().lockout == enclave.lockout()
        assert enclave.lockout().locked
        error = in_time(lambda: on_tpm(enclave, misuse_a_protected_key), AuthorisationFailed)
        assert "dictionarylockout" in error.remedy
        exercise(enclave, blob)
        emulator.mend()
        assert not enclave.lockout().locked
        assert enclave.lockout().failures == 0


def test_a_reset_is_seen_in_the_counts(emulator):
    with opened(emulator, timeout=SECONDS) as enclave:
        blob, before = enclave.seal(SECRET, (0, 7)), enclave.status().clock
        emulator.inject(FaultOrder(Fault.RESET))
        after = enclave.status().clock
        assert after.reset_count == before.reset_count + 1
        assert not after.safe
        exercise(enclave, blob)


def test_a_reset_in_the_middle_of_an_operation_ends_it(emulator):
    with opened(emulator, timeout=SECONDS) as enclave:
        blob = enclave.seal(SECRET, (0, 7))
        emulator.inject(FaultOrder(Fault.RESET, after=2))
        assert "reset" in str(in_time(lambda: enclave.unseal(blob), Disconnected))
    emulator.mend()
    with opened(emulator) as again:
        exercise(again, blob)


def test_a_full_tpm_says_so_and_what_is_there_goes_on(emulator):
    with opened(emulator, timeout=SECONDS) as enclave:
        blob, value = enclave.seal(SECRET, (0, 7)), enclave.counter("kept")
        emulator.inject(FaultOrder(Fault.NV_FULL))
        for work in (
            lambda: enclave.counter("new"),
            lambda: enclave.measure("new", DIGEST),
            lambda: enclave.set_pin("new", b"1234", 3),
        ):
            assert "nvundefine" in in_time(work, Busy).remedy
        assert enclave.status().free_counters == 0
        assert enclave.advance("kept") == value + 1
        assert left_loaded(enclave) == []
        emulator.mend()
        exercise(enclave, blob)
        enclave.counter("new")


def test_objects_that_a_dead_program_left_are_unloaded(emulator):
    """Without a resource manager nobody else does it."""
    with opened(emulator, timeout=2) as enclave:
        blob = enclave.seal(SECRET, (0, 7))
        on_tpm(enclave, lambda tpm: [abandon(tpm) for _ in range(3)])
        assert enclave.status().free_objects == 0
        exercise(enclave, blob)


def abandon(tpm: object) -> None:
    with tpm.storage_root() as root:  # type: ignore[attr-defined]
        number = tpm.esys.tr_get_tpm_handle(root)  # type: ignore[attr-defined]
        saved = tpm.esys.context_save(root)  # type: ignore[attr-defined]
    tpm.esys.context_load(saved)  # type: ignore[attr-defined]
    assert number
