"""A TPM whose owner and lockout authorisations lie elsewhere: what works without them, and what does not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

pytest.importorskip("tpm2_pytss", reason="no TPM software stack: pip install 'keyvigil[tpm]'")
if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from tpm2_pytss import ESYS_TR

from drivers.tpm2 import _ownership
from drivers.tpm2._tpm import Tpm
from hal import AuthorisationFailed, Enclave, KeyUse, OwnerAuth, Unsupported
from simulators.devices.swtpm import Swtpm
from tests.drivers.software_tpm import AUTH, DIGEST, NONCE, left_loaded, on_tpm, opened, point

FIRST, SECOND = OwnerAuth(b"\x01" * 32, b"\x0f" * 32), OwnerAuth(b"\x02" * 32, b"\x0f" * 32)
RESET_KEY = point(ec.generate_private_key(ec.SECP256R1()))
PIN = b"\x51" * 32


@pytest.fixture
def emulator(tmp_path: Path) -> Iterator[Swtpm]:
    (tmp_path / "tpm").mkdir()
    with Swtpm(tmp_path / "tpm") as running:
        yield running


@pytest.fixture
def tpm(emulator: Swtpm) -> Iterator[Enclave]:
    with opened(emulator) as enclave:
        yield enclave


def guarded(tpm: Enclave, owner: bytes = b""):
    return tpm.create_guarded_key("alice", PIN, AUTH, 3, RESET_KEY, NONCE, owner=owner)


def test_what_was_made_before_works_on_and_new_indices_need_the_owner(emulator, tpm):
    key, blob, counter = tpm.create_key(KeyUse.SIGN, AUTH, NONCE), tpm.seal(b"secret", (0,)), tpm.counter("old")
    assert tpm.status().owner_auth_set is False
    tpm.take_ownership(FIRST)
    assert tpm.status().owner_auth_set is True
    emulator.reboot()
    with opened(emulator) as again:
        assert len(again.sign(key, AUTH, DIGEST)) == 64
        assert again.unseal(blob) == b"secret"
        assert again.advance("old") == counter + 1
        for refused in (lambda: again.counter("new"), lambda: guarded(again), lambda: guarded(again, SECOND.owner)):
            with pytest.raises(AuthorisationFailed):
                refused()
        made = guarded(again, FIRST.owner)
        assert len(again.guarded_sign(made, PIN, AUTH, DIGEST)) == 64
        again.change_pin(made, PIN, AUTH)
        with pytest.raises(AuthorisationFailed):
            again.remove_guard(made)
        assert len(again.guarded_sign(made, AUTH, AUTH, DIGEST)) == 64
        assert (again.lockout().failures, left_loaded(again)) == (0, [])


def test_nobody_with_the_node_alone_redefines_the_index(tpm):
    """The control is the same attack while the owner's authorisation is empty: test_tpm2_guard.py."""
    tpm.take_ownership(FIRST)
    key = guarded(tpm, FIRST.owner)

    def undefine(context: Tpm) -> None:
        from drivers.tpm2 import _guard

        context.esys.nv_undefine_space(context.esys.tr_from_tpmpublic(_guard.handle_of(key)))

    with pytest.raises(AuthorisationFailed):
        on_tpm(tpm, undefine)
    assert len(tpm.guarded_sign(key, PIN, AUTH, DIGEST)) == 64


def test_the_owner_s_value_is_not_kept_for_the_next_call(tpm):
    tpm.take_ownership(FIRST)
    guarded(tpm, FIRST.owner)
    with pytest.raises(AuthorisationFailed):
        guarded(tpm)


def test_taking_again_changes_nothing_and_rotating_replaces(tpm):
    tpm.take_ownership(FIRST)
    tpm.take_ownership(FIRST)
    tpm.take_ownership(FIRST, SECOND)
    tpm.take_ownership(SECOND, FIRST)
    with pytest.raises(AuthorisationFailed):
        guarded(tpm, FIRST.owner)
    assert guarded(tpm, SECOND.owner)
    assert tpm.lockout().failures == 0


def test_a_value_that_nobody_told_is_not_guessed_at(tpm):
    tpm.take_ownership(FIRST)
    with pytest.raises(AuthorisationFailed) as caught:
        tpm.take_ownership(SECOND)
    assert "clear the TPM" in caught.value.remedy
    assert guarded(tpm, FIRST.owner)


@pytest.mark.parametrize("step", ["_keep_root", "_change lockout", "_change owner"])
def test_interrupted_at_any_step_it_is_completed_by_the_next_call(emulator, monkeypatch, step):
    """The power goes after this step."""
    name, _, which = step.partition(" ")
    real = getattr(_ownership, name)

    def last(tpm: Tpm, *given: object) -> None:
        real(tpm, *given)
        if not which or given[0] == getattr(ESYS_TR, which.upper()):
            raise AuthorisationFailed("the power went")

    with opened(emulator) as tpm, monkeypatch.context() as patch:
        patch.setattr(_ownership, name, last)
        with pytest.raises(AuthorisationFailed, match="power"):
            tpm.take_ownership(FIRST)
    emulator.reboot()
    with opened(emulator) as tpm:
        tpm.take_ownership(FIRST)
        assert guarded(tpm, FIRST.owner)
        assert locks_out(tpm, FIRST.lockout)
        assert not locks_out(tpm, b"")


def locks_out(tpm: Enclave, value: bytes) -> bool:
    """Whether `value` is the lockout's authorisation; a wrong one switches it off until the next reset."""

    def reset(context: Tpm) -> None:
        context.esys.tr_set_auth(ESYS_TR.LOCKOUT, value)
        context.esys.dictionary_attack_lock_reset(ESYS_TR.LOCKOUT)

    try:
        on_tpm(tpm, reset)
    except AuthorisationFailed:
        return False
    return True


def test_another_key_where_the_storage_root_belongs_is_left_alone(tpm):
    from drivers.tpm2 import _templates

    def occupy(context: Tpm) -> None:
        with context.primary(ESYS_TR.OWNER, _templates.attestation_key()) as (key, _):
            context.esys.tr_close(context.esys.evict_control(ESYS_TR.OWNER, key, 0x81000001))

    on_tpm(tpm, occupy)
    with pytest.raises(Unsupported, match="0x81000001"):
        tpm.take_ownership(FIRST)
    assert tpm.status().owner_auth_set is False


@pytest.mark.parametrize("new", [OwnerAuth(), OwnerAuth(b"short", b"\x01" * 32), OwnerAuth(b"\x01" * 32)])
def test_values_that_are_none_are_refused(tpm, new):
    with pytest.raises(ValueError, match="authorisation"):
        tpm.take_ownership(new)
    assert "\\x01" not in repr(new)
