"""An owner who is elsewhere allows single commands, and hears from the TPM's own key whose it is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from authority.approvals import sign_raw
from authority.tpm import (
    CertificationRejected,
    Guard,
    definition_message,
    removal_message,
    verify_guard,
    verify_guarded_key,
    verify_ownership,
)
from drivers.tpm2 import _guard
from drivers.tpm2._tpm import Tpm
from hal import AuthorisationFailed, Enclave, Grant, GuardedKey, NotFound, OwnerAuth, OwnerCommand
from simulators.devices.swtpm import Swtpm
from tests.drivers.software_tpm import AUTH, DIGEST, NONCE, left_loaded, on_tpm, opened, point

VALUES = OwnerAuth(b"\x01" * 32, b"\x0f" * 32)
AUTHORITY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
KEY = point(AUTHORITY)
PIN = b"\x51" * 32
LIMIT = 3


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Enclave]:
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm") as running, opened(running) as enclave:
        yield enclave


@pytest.fixture
def owned(tpm: Enclave) -> Enclave:
    tpm.take_ownership(VALUES, grant_key=KEY)
    return tpm


def guard_of(command: OwnerCommand, label: str) -> Guard:
    return Guard(label, KEY, command.change_key)


def definition(command: OwnerCommand, label: str = "alice", signer: ec.EllipticCurvePrivateKey = AUTHORITY) -> Grant:
    message = definition_message(command.nonce, command.initial, command.index, guard_of(command, label))
    return Grant(sign_raw(signer, message))


def made(tpm: Enclave, grant: Grant, label: str = "alice") -> GuardedKey:
    return tpm.create_guarded_key(label, PIN, AUTH, LIMIT, KEY, NONCE, owner=grant)


def removal(tpm: Enclave, key: GuardedKey, signer: ec.EllipticCurvePrivateKey = AUTHORITY) -> Grant:
    planned = tpm.plan_removal(key)
    assert planned is not None
    guard = Guard(key.label, KEY, key.change[:65])
    return Grant(sign_raw(signer, removal_message(planned.nonce, planned.index, guard)))


def test_one_grant_makes_one_guard_whose_pin_is_nobody_s_initial_value(owned):
    planned = owned.plan_guard("alice", KEY)
    key = made(owned, definition(planned))
    assert len(owned.guarded_sign(key, PIN, AUTH, DIGEST)) == 64
    with pytest.raises(AuthorisationFailed):
        owned.guarded_sign(key, planned.initial, AUTH, DIGEST)
    with pytest.raises(AuthorisationFailed, match="begun"):
        made(owned, definition(planned))
    ak, guard = owned.attestation_key(), guard_of(planned, "alice")
    count = verify_guard(key.index.attest, key.index.signature, ak, NONCE, key.index.public, guard)
    assert (count.failures, count.limit) == (0, LIMIT)
    verify_guarded_key(key.key.attest, key.key.signature, ak, NONCE, key.key.public, key.index.public, guard)
    assert (owned.lockout().failures, left_loaded(owned)) == (0, [])


@pytest.mark.parametrize("wrong", ["signer", "label", "later nonce"])
def test_a_grant_is_good_for_its_command_by_its_key_in_its_session(owned, wrong):
    planned = owned.plan_guard("alice", KEY)
    signature, label = definition(planned), "alice"
    match wrong:
        case "signer":
            signature = definition(planned, signer=OTHER)
        case "label":
            label = "bob"
        case "later nonce":
            owned.plan_guard("alice", KEY)
    with pytest.raises(AuthorisationFailed):
        made(owned, signature, label)
    made(owned, definition(owned.plan_guard("alice", KEY)))
    assert left_loaded(owned) == []


def test_a_guard_goes_by_its_own_grant_alone(owned):
    key = made(owned, definition(owned.plan_guard("alice", KEY)))
    other = made(owned, definition(owned.plan_guard("bob", KEY), "bob"), "bob")
    grant = removal(owned, key)
    with pytest.raises(AuthorisationFailed):
        owned.remove_guard(other, owner=grant)
    with pytest.raises(AuthorisationFailed):
        owned.remove_guard(key, owner=removal(owned, key, OTHER))
    with pytest.raises(AuthorisationFailed):
        owned.remove_guard(key)
    owned.remove_guard(key, owner=removal(owned, key))
    with pytest.raises(NotFound):
        owned.guarded_sign(key, PIN, AUTH, DIGEST)
    assert owned.plan_removal(key) is None
    assert len(owned.guarded_sign(other, PIN, AUTH, DIGEST)) == 64


def redefined(tpm: Enclave, key: GuardedKey, pin: bytes) -> None:
    """What root on a node does: the same index again, with a PIN that he knows."""

    def attack(context: Tpm) -> None:
        context.esys.nv_undefine_space(context.esys.tr_from_tpmpublic(_guard.handle_of(key)))
        public = _guard.whole(_guard.TPM2B_NV_PUBLIC, key.index.public)
        public.nvPublic.attributes &= ~_WRITTEN
        context.esys.tr_close(context.esys.nv_define_space(pin, public))
        _guard._limited(context, _guard.handle_of(key), _guard.branches_of(key), LIMIT, NONCE)

    on_tpm(tpm, attack)


_WRITTEN = 1 << 29


def test_undefining_and_redefining_with_a_known_value_fails_once_the_tpm_is_owned(tpm):
    """The control: before, the same commands give the index a PIN of the attacker's, and the gate opens."""
    known = b"\x77" * 32
    before = tpm.create_guarded_key("before", PIN, AUTH, LIMIT, KEY, NONCE)
    redefined(tpm, before, known)
    assert len(tpm.guarded_sign(before, known, AUTH, DIGEST)) == 64
    tpm.take_ownership(VALUES, grant_key=KEY)
    after = made(tpm, definition(tpm.plan_guard("after", KEY), "after"), "after")
    for key in (before, after):
        with pytest.raises(AuthorisationFailed):
            redefined(tpm, key, known)
    assert len(tpm.guarded_sign(after, PIN, AUTH, DIGEST)) == 64


def test_the_attestation_key_tells_whether_there_is_an_owner(tpm):
    def told(permanent: int | None = None):
        proof = tpm.certify_ownership(NONCE)
        said = proof.permanent if permanent is None else permanent
        return verify_ownership(proof.attest, proof.signature, tpm.attestation_key(), NONCE, said)

    before = tpm.certify_ownership(NONCE).permanent
    assert (told().owner, told().lockout) == (False, False)
    with pytest.raises(CertificationRejected, match="another answer"):
        told(before | 0b101)
    tpm.take_ownership(VALUES, grant_key=KEY)
    assert (told().owner, told().lockout) == (True, True)
    with pytest.raises(CertificationRejected, match="another answer"):
        told(before)
    assert left_loaded(tpm) == []


def test_a_proof_over_another_nonce_or_of_another_kind_proves_nothing(tpm):
    proof, quote = tpm.certify_ownership(NONCE), tpm.quote(NONCE, (0,))
    ak = tpm.attestation_key()
    with pytest.raises(CertificationRejected):
        verify_ownership(proof.attest, proof.signature, ak, bytes(32), proof.permanent)
    with pytest.raises(CertificationRejected, match="another statement"):
        verify_ownership(quote.attest, quote.signature, ak, NONCE, proof.permanent)


def test_nothing_is_signed_for_an_index_that_is_not_the_guard_s(owned):
    planned = owned.plan_guard("alice", KEY)
    with pytest.raises(CertificationRejected):
        definition(planned, "bob")
    with pytest.raises(ValueError, match="nonce"):
        definition(replace(planned, nonce=b"short"))
    with pytest.raises(ValueError, match="value"):
        definition(replace(planned, initial=b""))
