from __future__ import annotations

import json
import os
from dataclasses import dataclass

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agent.enclave import EnclaveGate
from agent.errors import AgentError, ProfileError
from agent.profile import ProfileDraft, ProfileVault, RecordFile, RecordHeader
from agent.state import StateDirectory
from authority.tpm import public_key
from hal import AuthorisationFailed
from protocol.codec import ProtocolViolation, decode, encode
from protocol.messages import ModalityModel, SensorIdentity
from tests.agent.world import NODE, SELECTION, Tpm

RECORD = "0123456789abcdef"
SHARE = bytes(range(32))
TEMPLATES = {"face": b"a face's template", "voice": b"a voice's template"}


@dataclass
class Sealed:
    vault: ProfileVault
    gate: EnclaveGate
    state: StateDirectory
    public: bytes

    def open(self, share: bytes = SHARE, node: str = NODE, record: str = RECORD):
        with self.gate.use() as enclave:
            return self.vault.open(enclave, node, record, share)


@pytest.fixture
def sealed(gate: EnclaveGate, state: StateDirectory) -> Sealed:
    vault = ProfileVault(state, os.urandom)
    sensor = SensorIdentity(
        kind="camera", driver="opencv", driver_sha256="0" * 64, transport="v4l2", port="/dev/video0"
    )
    models = [ModalityModel(modality=name, model="m", parameters="1") for name in TEMPLATES]
    draft = ProfileDraft(RECORD, "alice", models, [sensor], "1", 5.0, TEMPLATES)
    with gate.use() as enclave:
        key = vault.seal(enclave, NODE, draft, SHARE, tuple(SELECTION), bytes(32))
    return Sealed(vault, gate, state, key.public)


def test_enclave_and_share_together_give_the_templates_back(sealed: Sealed) -> None:
    profile = sealed.open()
    assert profile.templates == TEMPLATES
    assert profile.header.admin == "alice"


def test_the_opened_profile_signs_with_the_certified_key(sealed: Sealed) -> None:
    profile = sealed.open()
    digest = os.urandom(32)
    with sealed.gate.use() as enclave:
        signature = profile.sign(enclave, digest)
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    public_key(sealed.public).verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(SHA256())))


def test_without_the_authorisation_value_the_key_does_not_sign(sealed: Sealed) -> None:
    key = sealed.vault.header(RECORD).key.certified()
    with sealed.gate.use() as enclave, pytest.raises(AuthorisationFailed):
        enclave.sign(key, os.urandom(32), bytes(32))


def test_a_wrong_share_opens_nothing(sealed: Sealed) -> None:
    with pytest.raises(ProfileError):
        sealed.open(share=bytes(32))
    with pytest.raises(ProfileError):
        sealed.open(share=b"")


def test_another_tpm_opens_nothing(sealed: Sealed, other_tpm: Tpm) -> None:
    with other_tpm.open() as enclave, pytest.raises(AuthorisationFailed):
        sealed.vault.open(enclave, NODE, RECORD, SHARE)


def test_moved_pcrs_open_nothing(sealed: Sealed, tpm: Tpm) -> None:
    sealed.open()
    tpm.extend()
    with pytest.raises(AuthorisationFailed):
        sealed.open()


def test_another_node_or_record_opens_nothing(sealed: Sealed) -> None:
    with pytest.raises(ProfileError, match="another node"):
        sealed.open(node="cd" * 32)
    path = sealed.state.profiles / f"{RECORD}.record"
    path.rename(sealed.state.profiles / "fedcba.record")
    with pytest.raises(ProfileError, match="another record"):
        sealed.open(record="fedcba")
    with pytest.raises(ProfileError, match="no sealed profile"):
        sealed.open()


@pytest.mark.parametrize("part", ["admin", "node_id", "modalities", "sealed_pepper", "key"])
def test_a_changed_header_opens_nothing(sealed: Sealed, part: str) -> None:
    """The associated data is the header's own bytes, so that every part of the context is bound."""
    path = sealed.state.profiles / f"{RECORD}.record"
    record = decode(path.read_bytes(), RecordFile)
    header = json.loads(record.header)
    header[part] = {
        "admin": "mallory",
        "node_id": header["node_id"],
        "modalities": header["modalities"][:1],
        "sealed_pepper": header["sealed_pepper"],
        "key": {"public": header["key"]["public"], "private": header["key"]["public"]},
    }[part]
    header["created_at"] += 0 if part in {"admin", "modalities", "key"} else 1
    changed = msgspec.structs.replace(record, header=json.dumps(header, separators=(",", ":"), sort_keys=True).encode())
    assert changed.header != record.header
    path.write_bytes(encode(changed))
    with pytest.raises(ProfileError):
        sealed.open()


def test_an_untouched_record_written_back_still_opens(sealed: Sealed) -> None:
    """Negative control of the test above: the rewriting itself does no harm."""
    path = sealed.state.profiles / f"{RECORD}.record"
    path.write_bytes(encode(decode(path.read_bytes(), RecordFile)))
    assert sealed.open().templates == TEMPLATES


@pytest.mark.parametrize("position", [0, 5, -1])
def test_a_changed_ciphertext_opens_nothing(sealed: Sealed, position: int) -> None:
    path = sealed.state.profiles / f"{RECORD}.record"
    record = decode(path.read_bytes(), RecordFile)
    ciphertext = bytearray(record.ciphertext)
    ciphertext[position] ^= 1
    path.write_bytes(encode(msgspec.structs.replace(record, ciphertext=bytes(ciphertext))))
    with pytest.raises(ProfileError):
        sealed.open()


def test_garbage_in_the_place_of_a_record_is_refused(sealed: Sealed) -> None:
    (sealed.state.profiles / f"{RECORD}.record").write_bytes(os.urandom(500))
    with pytest.raises(ProfileError, match="damaged"):
        sealed.open()


def test_no_template_and_no_authorisation_value_lies_in_clear_on_disk(sealed: Sealed) -> None:
    auth = sealed.open().auth
    stored = b"".join(path.read_bytes() for path in sealed.state.root.rglob("*") if path.is_file())
    record = decode((sealed.state.profiles / f"{RECORD}.record").read_bytes(), RecordFile)
    everything = stored + record.header + record.ciphertext
    assert not any(secret in everything for secret in (*TEMPLATES.values(), auth, SHARE))
    assert b"alice" in everything


def test_nothing_secret_shows_in_a_repr(sealed: Sealed) -> None:
    profile = sealed.open()
    assert "template" not in repr(profile)
    assert repr(profile.auth) not in repr(profile)
    assert "private=" not in repr(profile.header.key)


def test_the_counter_grows_and_survives_a_restart(sealed: Sealed) -> None:
    def present(vault: ProfileVault) -> int:
        profile = sealed.open()
        vault.remember(profile, {}, answered=True)
        return vault.next_counter(profile)

    assert [present(sealed.vault) for _ in range(3)] == [1, 2, 3]
    assert present(ProfileVault(sealed.state, os.urandom)) == 4


def test_a_lost_counter_stops_the_profile(sealed: Sealed) -> None:
    (sealed.state.profiles / f"{RECORD}.counter").unlink()
    with pytest.raises(ProfileError, match="counter"):
        sealed.open()


def test_a_record_id_that_is_a_path_is_refused(sealed: Sealed) -> None:
    with pytest.raises(ProtocolViolation):
        sealed.open(record="../identity")


def test_discarding_leaves_nothing(sealed: Sealed) -> None:
    sealed.vault.discard(RECORD)
    assert list(sealed.state.profiles.iterdir()) == []
    assert sealed.vault.headers() == []


def test_a_record_under_another_name_does_not_even_show_its_header(sealed: Sealed) -> None:
    """Two records that changed places would otherwise prompt one administrator for the other."""
    path = sealed.state.profiles / f"{RECORD}.record"
    path.rename(sealed.state.profiles / "fedcba.record")
    with pytest.raises(ProfileError, match="another record"):
        sealed.vault.header("fedcba")


@pytest.mark.parametrize("blob", [b"", b"\x00", b"\xff" * 40, os.urandom(300)])
def test_a_crooked_pepper_is_a_refusal_and_no_builtin_exception(sealed: Sealed, blob: bytes) -> None:
    path = sealed.state.profiles / f"{RECORD}.record"
    record = decode(path.read_bytes(), RecordFile)
    header = msgspec.structs.replace(decode(record.header, RecordHeader), sealed_pepper=blob)
    path.write_bytes(encode(msgspec.structs.replace(record, header=encode(header))))
    with pytest.raises((ProfileError, AuthorisationFailed)):
        sealed.open()


@pytest.mark.parametrize("length", [0, 1, 100, 1000])
def test_a_truncated_record_is_refused_with_a_remedy(sealed: Sealed, length: int) -> None:
    path = sealed.state.profiles / f"{RECORD}.record"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ProfileError, match="damaged") as refusal:
        sealed.vault.header(RECORD)
    assert refusal.value.remedy


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"1.5", b"[1]"])
def test_a_damaged_counter_stops_the_profile(sealed: Sealed, content: bytes) -> None:
    (sealed.state.profiles / f"{RECORD}.counter").write_bytes(content)
    with pytest.raises(AgentError):
        sealed.open()
