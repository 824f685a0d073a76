"""The PKCS#11 driver on SoftHSM2 tokens: every operation, what it lacks, and who may use it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

pytest.importorskip("pkcs11", reason="no python-pkcs11: pip install 'keyvigil[pkcs11]'")

from hal import (
    AuthorisationFailed,
    Busy,
    Capability,
    Disconnected,
    Enclave,
    EnclaveKind,
    KeyUse,
    SealAuthority,
    Transport,
    Unsupported,
)
from simulators.devices.softhsm import SoftHsm
from tests.drivers.pkcs11_token import AUTH, DIGEST, NONCE, SECRET, enclave, opened_elsewhere, rig, token, verify
from tests.drivers.token_rigs import EnclaveRig

__all__ = ["enclave", "rig", "token"]


def test_it_says_which_token_it_is(rig: EnclaveRig, enclave: Enclave):
    info, status = enclave.info, enclave.status()
    assert enclave.kind is EnclaveKind.PKCS11
    assert (info.vendor_id, info.product_id, info.name) == ("SoftHSM project", "SoftHSM v2", "PKCS#11 token first")
    assert info.transport is Transport.VIRTUAL, "a token made of files must not pass for a real one"
    assert info.capabilities == {Capability.SIGN, Capability.AGREE, Capability.SEAL}
    assert (status.maker, status.firmware, status.lockout) == ("SoftHSM project", "2.6", None)
    listed = {found.serial: found for found in rig.driver.list({**rig.options, "token": ""})}
    assert listed[info.serial].same_device(info)


def test_a_key_signs_with_its_authorisation_value_only(enclave: Enclave):
    key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
    verify(key.public, enclave.sign(key, AUTH, DIGEST))
    for wrong in (b"", AUTH[:-1], b"\x5b" * 32):
        with pytest.raises(AuthorisationFailed):
            enclave.sign(key, wrong, DIGEST)


def test_a_key_agrees_as_anybody_computes_it(enclave: Enclave):
    key = enclave.create_key(KeyUse.AGREE, b"", NONCE)
    mine = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public)
    for _ in range(4):
        peer = ec.generate_private_key(ec.SECP256R1())
        point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        assert enclave.agree(key, b"", point) == peer.exchange(ec.ECDH(), mine)


def test_a_key_has_one_use_and_stays_in_its_token(rig: EnclaveRig, enclave: Enclave):
    signer, agreer = (enclave.create_key(use, AUTH, NONCE) for use in (KeyUse.SIGN, KeyUse.AGREE))
    with pytest.raises(AuthorisationFailed):
        enclave.sign(agreer, AUTH, DIGEST)
    with pytest.raises(AuthorisationFailed):
        enclave.agree(signer, AUTH, signer.public)
    with pytest.raises(AuthorisationFailed):
        enclave.sign(replace(signer, public=agreer.public), AUTH, DIGEST)
    with rig.driver.open(rig.other) as other, pytest.raises(AuthorisationFailed):
        other.sign(signer, AUTH, DIGEST)


def test_no_key_can_be_taken_out_of_the_token(rig: EnclaveRig, token: SoftHsm):
    """Asked of the token itself, beside the driver: it gives no secret and no private value away."""
    with rig.open() as enclave:
        enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
        enclave.create_key(KeyUse.AGREE, AUTH, NONCE)
        enclave.seal(SECRET, ())
    program = (
        "import sys, pkcs11\n"
        "from pkcs11 import Attribute as A, ObjectClass as O\n"
        "session = pkcs11.lib(sys.argv[1]).get_token(token_label='first').open(user_pin=sys.argv[2])\n"
        "for each in session.get_objects():\n"
        "    try: value = each[A.VALUE]\n"
        "    except pkcs11.AttributeSensitive: value = None\n"
        "    print(each.object_class.name, each[A.EXTRACTABLE], each[A.NEVER_EXTRACTABLE], each[A.SENSITIVE], value)\n"
    )
    argv = [sys.executable, "-c", program, str(token.module), token.pin_file.read_text().strip()]
    done = subprocess.run(
        argv, env={**os.environ, **token.environment()}, capture_output=True, text=True, timeout=60, check=False
    )
    assert sorted(done.stdout.splitlines()) == [
        "PRIVATE_KEY False True True None",
        "PRIVATE_KEY False True True None",
        "SECRET_KEY False True True None",
    ], done.stderr


def test_what_is_sealed_opens_in_this_token_only(rig: EnclaveRig, enclave: Enclave):
    blob = enclave.seal(SECRET, ())
    assert enclave.unseal(blob) == SECRET and SECRET not in blob and enclave.seal(SECRET, ()) != blob
    for at in range(len(blob)):
        with pytest.raises(AuthorisationFailed):
            enclave.unseal(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :])
    with pytest.raises(AuthorisationFailed):
        enclave.unseal(blob[:20])
    with rig.driver.open(rig.other) as other:
        with pytest.raises(AuthorisationFailed, match="not in this token"):
            other.unseal(blob)
        other.seal(SECRET, ())
        with pytest.raises(AuthorisationFailed):
            other.unseal(blob)


def test_random_numbers_are_the_token_s(enclave: Enclave):
    drawn = [enclave.random(32) for _ in range(8)]
    assert len({*drawn}) == 8 and {len(each) for each in drawn} == {32}
    assert (enclave.random(0), len(enclave.random(4096))) == (b"", 4096)


def test_what_it_lacks_is_refused(enclave: Enclave):
    for refused in (
        lambda: enclave.seal(SECRET, (0, 7)),
        lambda: enclave.seal(SECRET, (), SealAuthority(b"\x04" + bytes(64), b"x")),
        enclave.attestation_key,
        enclave.endorsement,
        lambda: enclave.quote(NONCE, (0,)),
        lambda: enclave.counter("x"),
        lambda: enclave.measure("x", NONCE),
    ):
        with pytest.raises(Unsupported):
            refused()


def test_arguments_out_of_range_are_a_mistake_of_the_caller(enclave: Enclave):
    key = enclave.create_key(KeyUse.AGREE, AUTH, NONCE)
    for wrong in (
        lambda: enclave.seal(b"", ()),
        lambda: enclave.random(-1),
        lambda: enclave.sign(key, AUTH, b"short"),
        lambda: enclave.create_key(KeyUse.SIGN, bytes(33), NONCE),
        lambda: enclave.agree(key, AUTH, b"\x04" + bytes(64)),
        lambda: enclave.agree(key, AUTH, b"\x02" + bytes(32)),
    ):
        with pytest.raises(ValueError, match=r"bytes|point"):
            wrong()


def test_everything_survives_closing(rig: EnclaveRig):
    with rig.open() as first:
        blob, key = first.seal(SECRET, ()), first.create_key(KeyUse.SIGN, AUTH, NONCE)
    first.close()
    with pytest.raises(Disconnected):
        first.unseal(blob)
    with rig.open() as again:
        assert again.unseal(blob) == SECRET
        verify(key.public, again.sign(key, AUTH, DIGEST))


def test_two_tokens_of_one_module_work_side_by_side(rig: EnclaveRig):
    failures: list[BaseException] = []

    def work(enclave: Enclave) -> None:
        try:
            key = enclave.create_key(KeyUse.SIGN, AUTH, NONCE)
            for _ in range(30):
                verify(key.public, enclave.sign(key, AUTH, DIGEST))
        except BaseException as error:
            failures.append(error)

    with rig.open() as one, rig.driver.open(rig.other) as two:
        threads = [threading.Thread(target=work, args=(each,)) for each in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.close()
        assert failures == []
        assert two.unseal(two.seal(SECRET, ())) == SECRET, "closing one token must not end the module under the other"


def test_one_claimant_at_a_time(rig: EnclaveRig):
    with rig.open():
        with pytest.raises(Busy):
            rig.open()
        assert opened_elsewhere(rig) == "Busy"
    assert opened_elsewhere(rig) == "opened"
    rig.open().close()


def test_a_forked_process_uses_nothing_of_its_parent_s_and_opens_for_itself(rig: EnclaveRig):
    with rig.open() as enclave:
        blob = enclave.seal(SECRET, ())
        child = os.fork()
        if child == 0:
            try:
                os._exit(_in_child(rig, enclave))
            finally:
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert enclave.unseal(blob) == SECRET, "the child broke the parent's session"
    rig.open().close()


def _in_child(rig: EnclaveRig, inherited: Enclave) -> int:
    try:
        inherited.random(1)
    except Disconnected:
        pass
    else:
        return 1
    try:
        rig.open()
    except Busy:
        pass
    else:
        return 2
    with rig.driver.open(rig.other) as mine:
        return 0 if mine.unseal(mine.seal(SECRET, ())) == SECRET else 3
