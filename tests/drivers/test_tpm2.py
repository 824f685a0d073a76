"""The TPM driver on real swtpm processes: every operation, and every refusal of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    TPM2_RH,
    TPM2_SE,
    TPM2_ST,
    TPM2B_NV_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMA_NV,
    TPMA_OBJECT,
    TPML_DIGEST_VALUES,
    TPMS_NV_PUBLIC,
    TPMS_SENSITIVE_CREATE,
    TPMT_HA,
    TPMT_SIG_SCHEME,
    TPMT_TK_HASHCHECK,
    TPMU_HA,
)

from authority.tpm import parse_attest, public_key
from drivers.tpm2 import _pcrs, _templates
from drivers.tpm2._tpm import Tpm
from hal import (
    AuthorisationFailed,
    Busy,
    Capability,
    CertifiedKey,
    DeviceKind,
    Enclave,
    EnclaveKind,
    KeyUse,
    Transport,
    Unsupported,
    load_driver,
)
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from tests.drivers.software_tpm import AUTH, DIGEST, NONCE, left_loaded, on_tpm, opened, point


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def emulator(factory: SwtpmFactory, tmp_path: Path) -> Iterator[Swtpm]:
    with Swtpm(factory.manufacture("first").copy(tmp_path / "tpm")) as running:
        yield running


@pytest.fixture
def tpm(emulator: Swtpm) -> Iterator[Enclave]:
    with opened(emulator) as enclave:
        yield enclave


@pytest.fixture
def other(factory: SwtpmFactory) -> Iterator[Enclave]:
    with Swtpm(factory.manufacture("second")) as running, opened(running) as enclave:
        yield enclave


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Enclave]:
    """A TPM that its maker never certified."""
    (tmp_path / "bare").mkdir()
    with Swtpm(tmp_path / "bare") as running, opened(running) as enclave:
        yield enclave


def extend(enclave: Enclave, register: int) -> None:
    value = TPML_DIGEST_VALUES([TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"\x01" * 32))])
    on_tpm(enclave, lambda tpm: tpm.esys.pcr_extend(ESYS_TR(register), value))


def test_the_tpm_is_identified_and_announced_as_virtual(tpm, emulator):
    info = tpm.info
    assert (info.kind, info.driver, info.transport) == (DeviceKind.ENCLAVE, "tpm2", Transport.VIRTUAL)
    assert (info.port, info.vendor_id, info.product_id) == (emulator.tcti, "IBM", "SW TPM")
    assert Capability.ATTEST in info.capabilities
    assert tpm.kind is EnclaveKind.TPM2


def test_the_driver_is_found_by_its_entry_point(emulator):
    driver, entry = load_driver("tpm2", None)
    pinned, _ = load_driver("tpm2", entry.sha256)
    assert [info.port for info in driver.list({"tcti": emulator.tcti})] == [emulator.tcti]
    with pinned.open({"tcti": emulator.tcti}) as enclave:
        assert enclave.info.driver == "tpm2"


def test_random_bytes_come_in_any_length(tpm):
    assert [len(tpm.random(count)) for count in (0, 1, 32, 33, 100)] == [0, 1, 32, 33, 100]
    assert tpm.random(32) != tpm.random(32)


def test_the_endorsement_key_is_the_certified_one_whether_kept_or_made_anew(tpm):
    kept = tpm.endorsement()
    on_tpm(tpm, forget_persistent_key)
    made = tpm.endorsement()
    assert kept == made
    assert len(kept.certificates) == 1


def forget_persistent_key(tpm: Tpm) -> None:
    handle = tpm.esys.tr_from_tpmpublic(0x81010001)
    tpm.esys.evict_control(ESYS_TR.OWNER, handle, 0x81010001)


def test_a_foreign_key_at_the_customary_handle_is_not_taken_for_the_endorsement_key(tpm, emulator):
    right = tpm.endorsement()
    for change in (forget_persistent_key, persist_attestation_key):
        with opened(emulator) as other_program:
            on_tpm(other_program, change)
    assert tpm.endorsement() == right


def persist_attestation_key(tpm: Tpm) -> None:
    with tpm.attestation_key() as (ak, _):
        tpm.esys.tr_close(tpm.esys.evict_control(ESYS_TR.OWNER, ak, 0x81010001))


def test_a_tpm_without_certificate_still_has_an_endorsement_key(bare):
    endorsement = bare.endorsement()
    assert endorsement.certificates == ()
    assert public_key(endorsement.ek_public).key_size == 2048


def test_an_ecc_endorsement_key_is_used_where_only_that_is_certified_and_padding_is_cut_off(bare):
    certificate, issuer = b"\x30\x82\x02\x00" + bytes(512), b"\x30\x82\x01\x00" + bytes(256)
    on_tpm(bare, lambda tpm: write_nv(tpm, 0x01C0000A, certificate + b"\xff" * 200))
    on_tpm(bare, lambda tpm: write_nv(tpm, 0x01C00100, issuer))
    endorsement = bare.endorsement()
    assert endorsement.certificates == (certificate, issuer)
    assert isinstance(public_key(endorsement.ek_public), ec.EllipticCurvePublicKey)


def write_nv(tpm: Tpm, index: int, content: bytes) -> None:
    attributes = TPMA_NV.OWNERWRITE | TPMA_NV.OWNERREAD | TPMA_NV.AUTHREAD | TPMA_NV.NO_DA
    area = TPMS_NV_PUBLIC(nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=len(content))
    handle = tpm.esys.nv_define_space(b"", TPM2B_NV_PUBLIC(nvPublic=area))
    for at in range(0, len(content), 512):
        tpm.esys.nv_write(handle, content[at : at + 512], at, ESYS_TR.OWNER)


def test_the_attestation_key_is_the_same_after_a_reboot_and_another_in_another_tpm(tpm, emulator, other):
    before = tpm.attestation_key()
    emulator.reboot()
    with opened(emulator) as again:
        assert again.attestation_key() == before
    assert other.attestation_key() != before


def test_a_quote_carries_the_values_that_it_signs(tpm):
    extend(tpm, 3)
    every = tuple(range(24))
    quote = tpm.quote(NONCE, every)
    assert quote.pcrs == tpm.read_pcrs(every)
    assert quote.pcrs[3] != bytes(32)
    assert parse_attest(quote.attest).attested.pcr_digest == _pcrs.digest_of(quote.pcrs)


class MovingPcrs:
    """A TPM context in which a register moves right after it was read, `times` times."""

    def __init__(self, esys: Any, times: int) -> None:
        self._esys = esys
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._esys, name)

    def pcr_read(self, selection: Any) -> Any:
        answer = self._esys.pcr_read(selection)
        if self._times:
            self._times -= 1
            value = TPML_DIGEST_VALUES([TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=b"\x02" * 32))])
            self._esys.pcr_extend(ESYS_TR(0), value)
        return answer


@pytest.fixture
def moving(emulator: Swtpm) -> Iterator[Callable[[int], Tpm]]:
    context = Tpm(emulator.tcti)
    still = context.esys

    def with_moves(times: int) -> Tpm:
        context.esys = MovingPcrs(still, times)
        return context

    yield with_moves
    still.close()


def test_registers_that_move_while_they_are_quoted_are_read_again(moving):
    quote = _pcrs.quote(moving(2), NONCE, (0, 7))
    assert parse_attest(quote.attest).attested.pcr_digest == _pcrs.digest_of(quote.pcrs)


def test_registers_that_never_rest_are_reported(moving):
    with pytest.raises(Busy, match="kept changing"):
        _pcrs.quote(moving(1000), NONCE, (0, 7))


def test_signing_needs_the_authorisation_value(tpm):
    key = tpm.create_key(KeyUse.SIGN, AUTH, NONCE)
    raw = tpm.sign(key, AUTH, DIGEST)
    der = utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    public_key(key.public).verify(der, DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    for wrong in (b"", AUTH[:-1], b"\x5b" * 32):
        with pytest.raises(AuthorisationFailed, match="wrong authorisation value"):
            tpm.sign(key, wrong, DIGEST)


def test_wrong_authorisation_does_not_touch_the_global_lockout_counter(tpm):
    key = tpm.create_key(KeyUse.SIGN, AUTH, NONCE)
    for _ in range(10):
        with pytest.raises(AuthorisationFailed):
            tpm.sign(key, b"wrong", DIGEST)
    status = tpm.lockout()
    assert (status.failures, status.locked) == (0, False)
    assert status.max_failures > 0
    assert len(tpm.sign(key, AUTH, DIGEST)) == 64


def test_a_lockout_by_another_program_is_reported(tpm):
    for _ in range(tpm.lockout().max_failures):
        with pytest.raises(AuthorisationFailed, match="wrong authorisation value"):
            on_tpm(tpm, misuse_a_protected_key)
    status = tpm.lockout()
    assert (status.locked, status.failures) == (True, status.max_failures)
    assert status.recovery_seconds > 0
    with pytest.raises(AuthorisationFailed, match="locked") as caught:
        on_tpm(tpm, misuse_a_protected_key)
    assert "dictionarylockout" in caught.value.remedy


def misuse_a_protected_key(tpm: Tpm) -> None:
    """Sign with the wrong value by a key whose failures the TPM counts."""
    template = _templates.certified_key(KeyUse.SIGN)
    template.publicArea.objectAttributes &= ~TPMA_OBJECT.NODA
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=b"right"))
    handle, _, _, _, _ = tpm.esys.create_primary(sensitive, template, ESYS_TR.OWNER)
    with tpm.flushed(handle):
        tpm.esys.tr_set_auth(handle, b"wrong")
        ticket = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
        tpm.esys.sign(handle, DIGEST, TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL), ticket)


def test_agreement_yields_the_shared_point_and_needs_the_authorisation_value(tpm):
    key, peer = tpm.create_key(KeyUse.AGREE, AUTH, NONCE), ec.generate_private_key(ec.SECP256R1())
    shared = peer.exchange(ec.ECDH(), public_key(key.public))
    assert tpm.agree(key, AUTH, point(peer)) == shared
    with pytest.raises(AuthorisationFailed):
        tpm.agree(key, b"wrong", point(peer))


def test_keys_are_not_used_for_what_they_are_not_made(tpm):
    peer = point(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(Exception, match="TPM: agreeing on a key failed"):
        tpm.agree(tpm.create_key(KeyUse.SIGN, AUTH, NONCE), AUTH, peer)
    with pytest.raises(Exception, match="TPM: signing failed"):
        tpm.sign(tpm.create_key(KeyUse.AGREE, AUTH, NONCE), AUTH, DIGEST)


def test_a_key_of_another_tpm_is_refused(tpm, other):
    key = other.create_key(KeyUse.SIGN, AUTH, NONCE)
    assert other.sign(key, AUTH, DIGEST)
    with pytest.raises(AuthorisationFailed, match="another TPM"):
        tpm.sign(key, AUTH, DIGEST)


def test_a_damaged_key_is_refused(tpm):
    key = tpm.create_key(KeyUse.SIGN, AUTH, NONCE)
    flipped = bytes([*key.private[:-1], key.private[-1] ^ 1])
    for broken in (
        CertifiedKey(key.public, flipped, key.attest, key.signature),
        CertifiedKey(key.public, key.private[:-1], key.attest, key.signature),
        CertifiedKey(key.public, key.private + b"\0", key.attest, key.signature),
        CertifiedKey(b"", b"", key.attest, key.signature),
        CertifiedKey(key.public, key.private),
        CertifiedKey(key.public, key.private, b"\xff" * len(key.attest), key.signature),
    ):
        with pytest.raises(AuthorisationFailed):
            tpm.sign(broken, AUTH, DIGEST)


@pytest.mark.parametrize("size", [1, 32, 128])
def test_a_sealed_secret_comes_back(tpm, size):
    secret = bytes(range(size))
    blob = tpm.seal(secret, (0, 7))
    assert secret not in blob or size == 1
    assert tpm.unseal(blob) == secret


def test_a_sealed_secret_survives_a_reboot(tpm, emulator):
    blob = tpm.seal(b"secret", (0, 7))
    emulator.reboot()
    with opened(emulator) as again:
        assert again.unseal(blob) == b"secret"


def test_a_moved_register_keeps_the_secret_sealed(tpm):
    blob, unaffected = tpm.seal(b"secret", (0, 7)), tpm.seal(b"other secret", (1,))
    extend(tpm, 7)
    with pytest.raises(AuthorisationFailed, match="measured state"):
        tpm.unseal(blob)
    assert tpm.unseal(unaffected) == b"other secret"


def test_another_tpm_does_not_unseal(tpm, other):
    blob = other.seal(b"secret", (0,))
    assert other.unseal(blob) == b"secret"
    with pytest.raises(AuthorisationFailed, match="another TPM"):
        tpm.unseal(blob)


def test_a_cleared_tpm_does_not_unseal(tpm):
    blob = tpm.seal(b"secret", (0,))
    on_tpm(tpm, lambda context: context.esys.clear(ESYS_TR.LOCKOUT))
    with pytest.raises(AuthorisationFailed, match="another TPM"):
        tpm.unseal(blob)


def test_every_damage_to_a_sealed_blob_is_refused(tpm):
    blob = tpm.seal(b"secret", (0,))
    for length in (0, 1, 8, 9, 11, 12, 45, 46, 47, len(blob) - 1):
        with pytest.raises(AuthorisationFailed):
            tpm.unseal(blob[:length])
    for at in range(0, len(blob), 7):
        with pytest.raises(AuthorisationFailed):
            tpm.unseal(blob[:at] + bytes([blob[at] ^ 0x10]) + blob[at + 1 :])
    with pytest.raises(AuthorisationFailed):
        tpm.unseal(blob + b"\0")
    assert tpm.unseal(blob) == b"secret"


@pytest.mark.parametrize(
    "mistake",
    [
        lambda tpm: tpm.random(-1),
        lambda tpm: tpm.quote(NONCE[:-1], (0,)),
        lambda tpm: tpm.quote(NONCE, ()),
        lambda tpm: tpm.quote(NONCE, (1, 0)),
        lambda tpm: tpm.quote(NONCE, (0, 0)),
        lambda tpm: tpm.quote(NONCE, (24,)),
        lambda tpm: tpm.read_pcrs((-1,)),
        lambda tpm: tpm.create_key(KeyUse.SIGN, bytes(33), NONCE),
        lambda tpm: tpm.create_key(KeyUse.SIGN, AUTH, b""),
        lambda tpm: tpm.sign(CertifiedKey(b"", b""), AUTH, b"short"),
        lambda tpm: tpm.agree(CertifiedKey(b"", b""), AUTH, b"\x04" + bytes(64)),
        lambda tpm: tpm.agree(CertifiedKey(b"", b""), AUTH, b""),
        lambda tpm: tpm.seal(b"", (0,)),
        lambda tpm: tpm.seal(bytes(129), (0,)),
        lambda tpm: tpm.seal(b"secret", ()),
    ],
)
def test_mistakes_of_the_caller_never_reach_the_tpm(tpm, mistake):
    with pytest.raises(ValueError, match=r"bytes|selection|point|empty"):
        mistake(tpm)


@pytest.mark.parametrize("rounds", [25, pytest.param(125, marks=pytest.mark.slow)])
def test_nine_operations_a_round_leave_nothing_loaded(tpm, other, rounds):
    sign_key, agree_key = (tpm.create_key(use, AUTH, NONCE) for use in KeyUse)
    blob, foreign, peer = tpm.seal(b"s", (0,)), other.seal(b"s", (0,)), point(ec.generate_private_key(ec.SECP256R1()))
    for _ in range(rounds):
        tpm.quote(NONCE, (0, 7))
        tpm.sign(sign_key, AUTH, DIGEST)
        tpm.agree(agree_key, AUTH, peer)
        tpm.unseal(blob)
        tpm.seal(b"s", (0,))
        tpm.endorsement()
        for refused in (
            lambda: tpm.sign(sign_key, b"wrong", DIGEST),
            lambda: tpm.unseal(foreign),
            lambda: tpm.activate(b"\0\x01x", b"\0\x01x"),
        ):
            with pytest.raises(AuthorisationFailed):
                refused()
    assert left_loaded(tpm) == []


def test_what_is_loaded_shows_in_that_count(tpm):
    def count_while_loaded(context: Tpm) -> list[int]:
        with context.storage_root() as root, context.session(root, 0), context.session(root, 0, TPM2_SE.POLICY):
            return context.in_slots()

    assert len(on_tpm(tpm, count_while_loaded)) == 3


def test_several_threads_may_use_one_tpm(tpm):
    key = tpm.create_key(KeyUse.SIGN, AUTH, NONCE)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: len(tpm.sign(key, AUTH, DIGEST)), range(40)))
    assert answers == [64] * 40
    assert left_loaded(tpm) == []


class NoBank:
    """A TPM context that answers PCR_Read as one without the bank does: with an empty list."""

    @property
    def esys(self) -> NoBank:
        return self

    def pcr_read(self, selection: Any) -> tuple[int, Any, list[bytes]]:
        return 0, None, []


def test_a_tpm_without_the_sha256_bank_is_unsupported():
    with pytest.raises(Unsupported, match="SHA-256 bank"):
        _pcrs.read(NoBank(), (0, 7))
