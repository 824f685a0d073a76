"""Keys behind a PIN index: what an attacker at the machine tries, with the TPM's own commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_CC,
    TPM2_SE,
    TPM2B_NV_PUBLIC,
    TPMA_SESSION,
    TPML_DIGEST,
    TPMT_SYM_DEF,
    TSS2_Exception,
)

from authority.tpm import Guard, reset_message
from drivers.tpm2 import _guard, _keys, _policy, _seal, _templates
from drivers.tpm2._tpm import Tpm
from hal import AuthorisationFailed, Enclave, GuardedKey, KeyUse, Locked, NotFound, PinState
from simulators.devices.swtpm import Swtpm
from tests.drivers.software_tpm import DIGEST, NONCE, left_loaded, on_tpm, opened, point

PIN, AUTH, OTHER = b"\x51" * 32, b"\x52" * 32, b"\x53" * 32
LIMIT = 3
KEY, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Swtpm]:
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def tpm(emulator: Swtpm) -> Iterator[Enclave]:
    with opened(emulator) as enclave:
        yield enclave


@pytest.fixture
def key(tpm: Enclave) -> GuardedKey:
    return guarded(tpm)


def guarded(tpm: Enclave, label: str = "alice", **changes: Any) -> GuardedKey:
    given = {"pin": PIN, "auth": AUTH, "limit": LIMIT, "reset_key": point(KEY), "qualifying": NONCE}
    return tpm.create_guarded_key(label, **{**given, **changes})


def signs(tpm: Enclave, key: GuardedKey, pin: bytes = PIN, auth: bytes = AUTH) -> bool:
    try:
        raw = tpm.guarded_sign(key, pin, auth, DIGEST)
    except (AuthorisationFailed, NotFound):
        return False
    return len(raw) == 64


def lock(tpm: Enclave, key: GuardedKey) -> None:
    for _ in range(LIMIT):
        with pytest.raises(AuthorisationFailed):
            tpm.guarded_sign(key, OTHER, AUTH, DIGEST)


def reset_signature(key: GuardedKey, nonce: bytes, signer: Any = KEY, limit: int = LIMIT) -> bytes:
    message = reset_message(nonce, key.index.public, Guard(key.label, key.reset_key, key.change[:65]), limit)
    halves = utils.decode_dss_signature(signer.sign(message, ec.ECDSA(hashes.SHA256())))
    return b"".join(half.to_bytes(32, "big") for half in halves)


def refused(tpm: Enclave, work: Callable[[Tpm], Any]) -> bool:
    """Whether the TPM refuses a command of an attacker's own."""

    def attempt(context: Tpm) -> bool:
        try:
            work(context)
        except TSS2_Exception:
            return True
        return False

    return bool(on_tpm(tpm, attempt))


def test_the_right_answers_sign_and_nothing_stays_loaded(tpm, key):
    assert signs(tpm, key)
    assert tpm.guard_state(key) == PinState(0, LIMIT)
    assert left_loaded(tpm) == []


def test_wrong_pins_lock_the_key_for_the_right_one_too_and_move_no_global_counter(tpm, key):
    assert not signs(tpm, key, pin=OTHER)
    assert signs(tpm, key)
    assert tpm.guard_state(key).failures == 0
    lock(tpm, key)
    for _ in range(2):
        with pytest.raises(Locked):
            tpm.guarded_sign(key, PIN, AUTH, DIGEST)
    assert tpm.guard_state(key) == PinState(LIMIT, LIMIT)
    assert (tpm.lockout().failures, left_loaded(tpm)) == (0, [])


def test_a_lock_is_of_one_administrator_alone(tpm, key):
    other = guarded(tpm, "bob")
    lock(tpm, key)
    assert signs(tpm, other)


def test_a_wrong_authorisation_value_behind_the_right_pin_does_not_sign(tpm, key):
    assert not signs(tpm, key, auth=OTHER)
    assert signs(tpm, key)


def test_the_count_outlasts_a_power_loss_and_a_power_loss_counts_nothing(emulator):
    with opened(emulator) as tpm:
        key = guarded(tpm)
    for _ in range(4):
        with opened(emulator) as tpm:
            assert signs(tpm, key)
            emulator.reboot()
    with opened(emulator) as tpm:
        assert not signs(tpm, key, pin=OTHER)
        emulator.reboot()
    with opened(emulator) as tpm:
        assert tpm.guard_state(key).failures == 1
        assert tpm.lockout().failures == 0
        assert signs(tpm, key)


def test_the_key_is_of_this_tpm(tpm, key, tmp_path):
    (tmp_path / "second").mkdir()
    with Swtpm(tmp_path / "second") as running, opened(running) as second:
        guarded(second)
        assert not signs(second, key)
    assert signs(tpm, key)


# What the PIN guards, without the PIN.


def test_an_index_defined_anew_with_a_known_pin_does_not_let_the_key_sign(tpm, key):
    """The owner's authorisation suffices for that; the right half of the value is still wanted."""
    on_tpm(tpm, lambda context: redefine(context, key, OTHER))
    assert not signs(tpm, key)
    assert not signs(tpm, key, pin=OTHER, auth=OTHER)
    assert signs(tpm, key, pin=OTHER, auth=AUTH), "the control: it is the authorisation value that is wanting"
    assert tpm.lockout().failures == 0


def redefine(context: Tpm, key: GuardedKey, pin: bytes) -> None:
    """The same index, so that it has the same Name."""
    public, _ = TPM2B_NV_PUBLIC.unmarshal(key.index.public)
    number = _guard.handle_of(key)
    context.esys.nv_undefine_space(context.esys.tr_from_tpmpublic(number))
    public.nvPublic.attributes = int(public.nvPublic.attributes) & ~0x20000000
    index = context.esys.nv_define_space(pin, public)
    with context.salted(0, TPM2_SE.POLICY) as session:
        context.esys.policy_nv_written(session, False)
        _guard._finish(context, session, TPM2_CC.NV_Write, _guard.branches_of(key))
        context.esys.nv_write(index, _policy.reset_content(2**32 - 1), 0, index, session1=session)
    assert context.name(index) == _guard.name_of(key.index.public)
    context.esys.tr_close(index)


def test_an_index_of_another_policy_in_its_place_is_noticed(tpm, key):
    guarded(tpm, reset_key=point(STRANGER))
    with pytest.raises(AuthorisationFailed, match="another TPM"):
        tpm.guarded_sign(key, PIN, AUTH, DIGEST)


def test_without_its_index_the_key_signs_never_again(tpm, key):
    tpm.remove_guard(key)
    tpm.remove_guard(key)
    with pytest.raises(NotFound) as caught:
        tpm.guarded_sign(key, PIN, AUTH, DIGEST)
    assert "enrol" in caught.value.remedy


def test_the_key_does_not_sign_by_its_authorisation_value_alone(tpm, key):
    """Even for whoever has both halves of it."""
    value = on_tpm(tpm, lambda context: whole_auth(context, key))
    with pytest.raises(AuthorisationFailed):
        tpm.sign(key.key, value, DIGEST)
    plain = tpm.create_key(KeyUse.SIGN, value, NONCE)
    assert tpm.sign(plain, value, DIGEST), "the control: a key without the policy"


def whole_auth(context: Tpm, key: GuardedKey) -> bytes:
    with (
        _keys.own_root(context, key.key) as root,
        _guard._index(context, key) as index,
        context.session(root, 0) as plain,
        context.session(root, 0, TPM2_SE.POLICY) as policy,
    ):
        context.esys.tr_set_auth(index, PIN)
        gate = _guard.SealedBlob.unpack(key.gate)
        half = _guard._opened(context, root, gate, _guard._Answer(index, plain, policy))
    return _guard._joined(half, AUTH)


def test_a_session_bound_to_the_key_tells_nothing_of_a_candidate(tpm, key):
    """It is counted nowhere; without the gate's half the right candidate is refused as a wrong one is.

    The control is the same key's whole value, which such a session does tell: what a key without a gate would leak.
    """
    value = on_tpm(tpm, lambda context: whole_auth(context, key))
    assert [on_tpm(tpm, lambda context, one=one: bound_tells(context, key, one)) for one in (AUTH, OTHER, value)] == [
        False,
        False,
        True,
    ]
    assert tpm.guard_state(key).failures == 0


def bound_tells(context: Tpm, key: GuardedKey, candidate: bytes) -> bool:
    """Whether a session bound to the key, with this for its authorisation value, is accepted."""
    symmetric = TPMT_SYM_DEF.parse("aes128cfb")
    with context.storage_root() as root, context.loaded(root, key.key.public, key.key.private, candidate) as handle:
        session = context.esys.start_auth_session(ESYS_TR.NONE, handle, TPM2_SE.HMAC, symmetric, TPM2_ALG.SHA256)
        with context.flushed(session):
            context.esys.trsess_set_attributes(session, TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.ENCRYPT)
            with suppress(TSS2_Exception):
                context.esys.get_random(8, session1=session)
                return True
    return False


def test_no_session_is_bound_to_a_pin_index(tpm, key):
    def bind(context: Tpm) -> None:
        with context.known(_guard.handle_of(key)) as index:
            context.esys.tr_set_auth(index, PIN)
            symmetric = TPMT_SYM_DEF.parse("aes128cfb")
            context.esys.start_auth_session(ESYS_TR.NONE, index, TPM2_SE.HMAC, symmetric, TPM2_ALG.SHA256)

    assert refused(tpm, bind)


def test_a_gate_opens_by_the_pin_alone(tpm, key):
    with pytest.raises(AuthorisationFailed):
        on_tpm(tpm, lambda context: open_gate(context, key, OTHER))
    assert len(on_tpm(tpm, lambda context: open_gate(context, key, PIN))) == 32


def open_gate(context: Tpm, key: GuardedKey, pin: bytes) -> bytes:
    with (
        context.storage_root() as root,
        _guard._index(context, key) as index,
        context.session(root, 0) as plain,
        context.session(root, 0, TPM2_SE.POLICY) as policy,
    ):
        context.esys.tr_set_auth(index, pin)
        gate = _guard.SealedBlob.unpack(key.gate)
        return _guard._opened(context, root, gate, _guard._Answer(index, plain, policy))


# Changing the PIN.


def test_after_a_change_the_old_pin_opens_nothing_and_an_old_blob_neither(tpm, key):
    tpm.change_pin(key, PIN, OTHER)
    assert tpm.guard_state(key) == PinState(0, LIMIT)
    assert not signs(tpm, key)
    assert signs(tpm, key, pin=OTHER)
    assert (tpm.lockout().failures, left_loaded(tpm)) == (0, [])


def test_changing_the_pin_is_no_way_to_guess_it(tpm, key):
    """By PolicyAuthValue, which the TPM offers for this, the right PIN is taken at the limit too."""
    for _ in range(LIMIT):
        with pytest.raises(AuthorisationFailed):
            tpm.change_pin(key, OTHER, OTHER)
    with pytest.raises(Locked):
        tpm.change_pin(key, PIN, OTHER)
    assert tpm.guard_state(key) == PinState(LIMIT, LIMIT)


def test_an_index_by_policy_auth_value_would_be_guessed_without_limit(tpm):
    """The control of the test above: why the index's policy has no such branch."""
    policy = _policy._only(_policy._step(bytes(32), TPM2_CC.PolicyAuthValue), TPM2_CC.NV_ChangeAuth)

    def attempt(context: Tpm) -> list[bool]:
        index = plain_pin_index(context, policy)
        return [change_by_auth_value(context, index, pin) for pin in (*[OTHER] * (LIMIT + 2), PIN)]

    assert on_tpm(tpm, attempt) == [False] * (LIMIT + 2) + [True]


def plain_pin_index(context: Tpm, policy: bytes) -> Any:
    from tpm2_pytss import TPMA_NV, TPMS_NV_PUBLIC

    attributes = TPMA_NV.NO_DA | TPMA_NV.OWNERWRITE | TPMA_NV.AUTHREAD | 8 << 4
    area = TPMS_NV_PUBLIC(
        nvIndex=0x01800042, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=8, authPolicy=policy
    )
    index = context.esys.nv_define_space(PIN, TPM2B_NV_PUBLIC(nvPublic=area))
    context.esys.nv_write(index, _policy.reset_content(LIMIT), 0, ESYS_TR.OWNER)
    return index


def change_by_auth_value(context: Tpm, index: Any, pin: bytes) -> bool:
    with context.salted(TPMA_SESSION.DECRYPT, TPM2_SE.POLICY) as session:
        context.esys.tr_set_auth(index, pin)
        context.esys.policy_auth_value(session)
        context.esys.policy_command_code(session, TPM2_CC.NV_ChangeAuth)
        with suppress(TSS2_Exception):
            context.esys.nv_change_auth(index, OTHER, session1=session)
            return True
    return False


def test_the_key_that_approved_the_change_approves_nothing_else(tpm, key):
    """Its private half is gone: what an attacker approves himself, or the authority's reset key does, is none."""
    for signer in (KEY, STRANGER):
        assert refused(tpm, lambda context, signer=signer: change_as_approved_by(context, key, signer))
    assert signs(tpm, key)


def change_as_approved_by(context: Tpm, key: GuardedKey, signer: ec.EllipticCurvePrivateKey) -> None:
    """A change that asks for no PIN."""
    approved = _policy._only(bytes(32), TPM2_CC.NV_ChangeAuth)
    signature = _guard._approved(signer, approved)
    message, refusal = approved + _policy.CHANGE_REFERENCE, AuthorisationFailed("not signed")
    ticket = _seal.verified(context, point(signer), message, signature, refusal)
    with context.salted(0, TPM2_SE.POLICY) as session, context.known(_guard.handle_of(key)) as index:
        context.esys.policy_command_code(session, TPM2_CC.NV_ChangeAuth)
        context.esys.policy_authorize(
            session,
            approved_policy=approved,
            key_sign=_templates.approving_key(point(signer)).get_name(),
            check_ticket=ticket,
            policy_ref=_policy.CHANGE_REFERENCE,
        )
        context.esys.policy_or(session, TPML_DIGEST(list(_guard.branches_of(key).branches)))
        context.esys.nv_change_auth(index, OTHER, session1=session)


# Lifting the lock.


def test_a_reset_needs_the_authority_s_signature_over_this_nonce(tpm, key):
    lock(tpm, key)
    old = reset_signature(key, tpm.reset_nonce(key))
    for signature in (
        lambda nonce: old,
        lambda nonce: reset_signature(key, nonce, signer=STRANGER),
        lambda nonce: reset_signature(key, nonce, limit=1000),
    ):
        nonce = tpm.reset_nonce(key)
        with pytest.raises(AuthorisationFailed):
            tpm.reset_pin(key, signature(nonce))
        assert tpm.guard_state(key).failures == LIMIT
    right = reset_signature(key, tpm.reset_nonce(key))
    assert left_loaded(tpm) == []
    tpm.reset_pin(key, right)
    assert tpm.guard_state(key) == PinState(0, LIMIT)
    assert signs(tpm, key)
    with pytest.raises(AuthorisationFailed, match="begun"):
        tpm.reset_pin(key, right)
    assert left_loaded(tpm) == []


def test_a_reset_is_for_one_index(tpm, key):
    other = guarded(tpm, "bob")
    nonce = tpm.reset_nonce(key)
    with pytest.raises(AuthorisationFailed, match="begun"):
        tpm.reset_pin(other, reset_signature(other, nonce))


def test_a_power_loss_makes_a_begun_reset_void(emulator):
    with opened(emulator) as tpm:
        key = guarded(tpm)
        lock(tpm, key)
        signature = reset_signature(key, tpm.reset_nonce(key))
        emulator.reboot()
        with pytest.raises(Exception):  # noqa: B017 - refused or disconnected, never accepted
            tpm.reset_pin(key, signature)
    with opened(emulator) as tpm:
        assert tpm.guard_state(key).failures == LIMIT
        tpm.reset_pin(key, reset_signature(key, tpm.reset_nonce(key)))
        assert signs(tpm, key)


def test_many_resets_that_are_never_finished_leave_room(tpm, key):
    for _ in range(70):
        tpm.reset_nonce(key)
    assert signs(tpm, key)


def test_nobody_writes_the_count_but_by_the_policy(tpm, key):
    def write(context: Tpm, authority: Any) -> None:
        with context.known(_guard.handle_of(key)) as index:
            context.esys.tr_set_auth(index, PIN)
            context.esys.nv_write(index, _policy.reset_content(1000), 0, authority or index)

    assert refused(tpm, lambda context: write(context, ESYS_TR.OWNER))
    assert refused(tpm, lambda context: write(context, None))
    assert refused(tpm, lambda context: first_write_again(context, key))


def first_write_again(context: Tpm, key: GuardedKey) -> None:
    with context.known(_guard.handle_of(key)) as index, context.salted(0, TPM2_SE.POLICY) as session:
        context.esys.policy_nv_written(session, False)
        _guard._finish(context, session, TPM2_CC.NV_Write, _guard.branches_of(key))
        context.esys.nv_write(index, _policy.reset_content(1000), 0, index, session1=session)


@pytest.mark.parametrize("changes", [{"pin": b"short"}, {"auth": b""}, {"limit": 0}, {"reset_key": b"\4" + bytes(64)}])
def test_arguments_out_of_range_never_reach_the_tpm(tpm, changes):
    with pytest.raises(ValueError, match=r"bytes|limit|P-256"):
        guarded(tpm, **changes)


def test_a_damaged_key_is_refused(tpm, key):
    for broken in (
        replace(key, change=bytes(65) + key.change[65:]),
        replace(key, change=key.change[:-1]),
        replace(key, index=replace(key.index, public=key.index.public[:-1])),
    ):
        with pytest.raises(AuthorisationFailed):
            tpm.change_pin(broken, PIN, OTHER)
    for broken in (replace(key, gate=key.gate[:-1]), replace(key, key=replace(key.key, private=b""))):
        with pytest.raises(AuthorisationFailed):
            tpm.guarded_sign(broken, PIN, AUTH, DIGEST)
    assert signs(tpm, key)
    assert left_loaded(tpm) == []
