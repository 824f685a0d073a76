"""Nothing stays behind: no object or session in the TPM, no descriptor or thread in this process."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from cryptography.hazmat.primitives.asymmetric import ec

from authority.tpm import make_credential, name
from hal import AuthorisationFailed, DeviceError, Enclave, KeyUse, NotFound, SealAuthority
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.drivers.software_tpm import AUTH, DIGEST, NONCE, approve, left_loaded, on_tpm, opened, point
from tests.leaks import leaked, open_descriptors

KEY = ec.generate_private_key(ec.SECP256R1())
AUTHORITY = SealAuthority(point(KEY), b"purpose", "floor")


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def emulator(factory: SwtpmFactory, tmp_path: Path) -> Iterator[Swtpm]:
    with Swtpm(factory.fresh(tmp_path / "tpm")) as running:
        yield running


def successes(tpm: Enclave) -> list[Callable[[], object]]:
    """Every operation, in a way that succeeds."""
    signer, agreer = (tpm.create_key(use, AUTH, NONCE) for use in KeyUse)
    blob, approved_blob = tpm.seal(b"s", (0,)), tpm.seal(b"s", (), AUTHORITY)
    approval = approve(tpm, KEY, AUTHORITY, 2**63)
    made = make_credential(tpm.endorsement().ek_public, name(tpm.attestation_key()), AUTH, os.urandom)
    tpm.set_pin("pin", b"1234", 100)
    guarded = tpm.create_guarded_key("guarded", AUTH, AUTH, 100, point(KEY), NONCE)
    return [
        tpm.status,
        tpm.lockout,
        tpm.endorsement,
        tpm.attestation_key,
        lambda: tpm.random(40),
        lambda: tpm.activate(made.blob, made.encrypted_secret),
        lambda: tpm.quote(NONCE, (0, 7)),
        lambda: tpm.read_pcrs(tuple(range(24))),
        lambda: tpm.create_key(KeyUse.SIGN, AUTH, NONCE),
        lambda: tpm.create_key(KeyUse.AGREE, AUTH, NONCE),
        lambda: tpm.sign(signer, AUTH, DIGEST),
        lambda: tpm.agree(agreer, AUTH, point(KEY)),
        lambda: tpm.seal(b"s", (0,)),
        lambda: tpm.unseal(blob),
        lambda: tpm.seal(b"s", (), AUTHORITY),
        lambda: tpm.pcr_policy((0, 7), AUTHORITY, 5),
        lambda: tpm.unseal(approved_blob, approval),
        lambda: tpm.counter("counter"),
        lambda: tpm.advance("counter"),
        lambda: tpm.certify_counter("counter", NONCE),
        lambda: tpm.measure("agent", DIGEST),
        lambda: tpm.measurement("agent"),
        lambda: tpm.certify_measurement("agent", NONCE),
        lambda: tpm.set_pin("pin", b"1234", 100),
        lambda: tpm.try_pin("pin", b"1234"),
        lambda: tpm.pin_state("pin"),
        lambda: tpm.forget("counter"),
        lambda: tpm.create_guarded_key("other", AUTH, AUTH, 100, point(KEY), NONCE),
        lambda: tpm.guarded_sign(guarded, AUTH, AUTH, DIGEST),
        lambda: tpm.change_pin(guarded, AUTH, AUTH),
        lambda: tpm.guard_state(guarded),
        lambda: tpm.certify_guard(guarded, NONCE),
        lambda: tpm.reset_nonce(guarded),
        lambda: tpm.reset_nonce(guarded),
    ]


def refusals(tpm: Enclave) -> list[Callable[[], object]]:
    """Every way in which the TPM refuses an operation."""
    signer, agreer = (tpm.create_key(use, AUTH, NONCE) for use in KeyUse)
    blob, approved_blob = tpm.seal(b"s", (0,)), tpm.seal(b"s", (), AUTHORITY)
    approval = approve(tpm, KEY, AUTHORITY, 2**63)
    below = approve(tpm, KEY, AUTHORITY, 0)
    tpm.set_pin("wrong", b"1234", 2**31)
    tpm.set_pin("locked", b"1234", 1)
    with suppress(AuthorisationFailed):
        tpm.try_pin("locked", b"wrong")
    return [
        lambda: tpm.activate(b"\0\1x", b"\0\1x"),
        lambda: tpm.activate(b"", b""),
        lambda: tpm.sign(signer, b"wrong", DIGEST),
        lambda: tpm.sign(agreer, AUTH, DIGEST),
        lambda: tpm.sign(replace(signer, private=signer.private[:-1] + b"\0"), AUTH, DIGEST),
        lambda: tpm.sign(replace(signer, attest=b""), AUTH, DIGEST),
        lambda: tpm.agree(agreer, b"wrong", point(KEY)),
        lambda: tpm.agree(signer, AUTH, point(KEY)),
        lambda: tpm.unseal(blob[:-1] + bytes([blob[-1] ^ 1])),
        lambda: tpm.unseal(b""),
        lambda: tpm.unseal(approved_blob),
        lambda: tpm.unseal(approved_blob, replace(approval, signature=bytes(64))),
        lambda: tpm.unseal(approved_blob, replace(approval, signature=approval.signature[::-1])),
        lambda: tpm.unseal(approved_blob, replace(approval, policy=bytes(32))),
        lambda: tpm.unseal(approved_blob, replace(approval, selection=(3,))),
        lambda: tpm.unseal(approved_blob, below),
        lambda: tpm.try_pin("wrong", b"4321"),
        lambda: tpm.try_pin("locked", b"1234"),
        lambda: tpm.try_pin("none", b"1234"),
        lambda: tpm.pin_state("none"),
        lambda: tpm.certify_measurement("none", NONCE),
    ]


def test_no_operation_leaves_anything_loaded(emulator):
    with opened(emulator) as tpm:
        for work in successes(tpm):
            work()
            assert left_loaded(tpm) == []
        assert (tpm.status().free_objects, tpm.status().free_sessions) == (3, 3)


def test_no_refusal_leaves_anything_loaded(emulator):
    with opened(emulator) as tpm:
        for work in refusals(tpm):
            with pytest.raises((AuthorisationFailed, NotFound, DeviceError)):
                work()
            assert left_loaded(tpm) == []
        assert (tpm.status().free_objects, tpm.status().free_sessions) == (3, 3)


def test_every_label_that_is_forgotten_gives_its_index_back(emulator):
    def present() -> list[int]:
        return on_tpm(tpm, lambda context: context.handles(0x01800000, 0x01BFFFFF))

    with opened(emulator) as tpm:
        for number in range(5):
            tpm.counter(f"label-{number}")
            tpm.set_pin(f"label-{number}", b"1234", 3)
            tpm.measure(f"label-{number}", DIGEST)
        assert len(present()) == 15
        for number in range(5):
            tpm.forget(f"label-{number}")
        assert present() == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_everything_again_and_again_finds_a_free_slot_each_time(emulator, rounds):
    with opened(emulator) as tpm:
        works = [*successes(tpm), *refusals(tpm)]
        for _ in range(rounds):
            for work in works:
                with suppress(AuthorisationFailed, NotFound, DeviceError):
                    work()
        assert left_loaded(tpm) == []


@pytest.fixture
def workers() -> Callable[[], list[threading.Thread]]:
    """The threads of TPMs that were opened since; one that another test gave up may still wait for its TPM."""

    def running() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("tpm ")]

    earlier = running()
    return lambda: [thread for thread in running() if thread not in earlier]


@pytest.mark.parametrize("rounds", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_opening_and_closing_leaves_no_descriptor_thread_or_handle(emulator, workers, rounds):
    with opened(emulator) as tpm:
        tpm.counter("counter")
    before = open_descriptors()
    for number in range(rounds):
        tpm = opened(emulator)
        if number % 10 == 0:
            tpm.counter("counter")
        tpm.close()
    assert not leaked(before, rounds)
    for worker in workers():
        worker.join(10)
    assert workers() == []
    with opened(emulator) as tpm:
        assert left_loaded(tpm) == []


@pytest.mark.parametrize("rounds", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_openings_that_fail_leave_nothing_either(emulator, workers, rounds):
    emulator.kill()
    with pytest.raises(DeviceError):
        opened(emulator)
    before = open_descriptors()
    for _ in range(rounds):
        with pytest.raises(DeviceError):
            opened(emulator)
    assert not leaked(before, rounds)
    assert workers() == []


def test_an_open_tpm_shows_in_those_counts(emulator, workers):
    """The control: what is counted above is counted."""
    before = open_descriptors()
    with opened(emulator), socket.socket():
        assert len(workers()) == 1
        assert leaked(before, 1)
