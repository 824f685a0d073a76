from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agent.enclave import EnclaveGate
from agent.errors import AgentError, ProfileError
from agent.profile import ProfileVault, RecordFile, RecordHeader, Sealing
from agent.state import StateDirectory
from authority.tpm import public_key
from hal import AuthorisationFailed
from protocol.codec import ProtocolViolation, decode, encode
from protocol.release import ReleasedShares
from tests.agent.sealing import RECORD, SIDES, TEMPLATES, Node, draft, probes
from tests.agent.world import NODE, Tpm


@pytest.fixture
def sealed(gate: EnclaveGate, state: StateDirectory) -> Node:
    node = Node(gate, state, ProfileVault(state, os.urandom))
    node.enrol()
    return node


def record_path(sealed: Node) -> Path:
    return sealed.state.profiles / f"{RECORD}.1.record"


def test_enclave_and_share_together_give_templates_and_sides_and_no_template_of_what_is_bound(sealed: Node) -> None:
    profile = sealed.open()
    assert (profile.templates, profile.sides) == (TEMPLATES, SIDES)
    assert profile.header.admin == "alice"


@pytest.mark.parametrize("released", [(), ("fingerprint",)])
def test_the_person_unlocks_a_key_that_the_enclave_certified(sealed: Node, released: tuple[str, ...]) -> None:
    found = sealed.unlock(released=released)
    assert found is not None and sealed.sealed is not None
    r, s = (int.from_bytes(half, "big") for half in (found[1][:32], found[1][32:]))
    key = public_key(sealed.sealed.key.certified.public)
    key.verify(encode_dss_signature(r, s), bytes(32), ec.ECDSA(Prehashed(SHA256())))


@pytest.mark.parametrize("released", [(), ("fingerprint",)])
def test_another_person_unlocks_nothing_even_with_the_finger(sealed: Node, released: tuple[str, ...]) -> None:
    """The released finger's share is one of two that are needed, and no bound one came with it."""
    assert sealed.unlock(seed=2, released=released) is None


def test_a_bound_modality_alone_or_a_released_one_gives_nothing_to_try(sealed: Node) -> None:
    profile = sealed.open()
    assert profile.attempts(probes(names=["face"]), frozenset()) == []
    assert profile.attempts({}, frozenset({"fingerprint"})) == []
    assert profile.attempts(probes(names=["face"]), frozenset({"fingerprint"})) != []


def test_a_presentation_tries_three_roots_and_the_enclave_counts_them(sealed: Node) -> None:
    assert sealed.unlock(seed=2) is None
    with sealed.gate.use() as enclave:
        state = sealed.vault.header(RECORD).key.guard_state(enclave)
        assert state is not None and (state.failures, state.limit) == (3, 15)
        assert enclave.lockout().failures == 0


def test_five_presentations_of_another_person_lock_the_key_and_the_authority_opens_it(sealed: Node) -> None:
    from authority.tpm import Guard, reset_message
    from protocol.guard import PIN_LIMIT
    from tests.agent.world import raw_signature

    for _ in range(5):
        assert sealed.unlock(seed=2) is None
    assert sealed.unlock() is None
    key = sealed.vault.header(RECORD).key
    assert key.guard is not None
    with sealed.gate.use() as enclave:
        guard = Guard(RECORD, sealed.holder.point, key.guard.change[:65])
        message = reset_message(key.reset_nonce(enclave), key.guard.public, guard, PIN_LIMIT)
        key.reset(enclave, raw_signature(sealed.holder.approval_key, message))
    assert sealed.unlock() is not None


def test_a_wrong_share_opens_nothing(sealed: Node) -> None:
    wrong = ReleasedShares(number=1, present=bytes(32))
    with pytest.raises(ProfileError):
        sealed.open(wrong)
    with pytest.raises(ProfileError, match="another share"):
        sealed.open(ReleasedShares(number=7, present=bytes(32)))


def test_another_tpm_opens_nothing(sealed: Node, other_tpm: Tpm) -> None:
    with other_tpm.open() as enclave, pytest.raises(AuthorisationFailed):
        sealed.vault.open(enclave, NODE, RECORD, sealed.holder.both, sealed.holder.approval(enclave))


def test_moved_pcrs_open_nothing_until_the_authority_approves_them(sealed: Node, tpm: Tpm) -> None:
    """A firmware update is an approval and no new enrolment."""
    with sealed.gate.use() as enclave:
        before = sealed.holder.approval(enclave)
    tpm.extend()
    with sealed.gate.use() as enclave, pytest.raises(AuthorisationFailed):
        sealed.vault.open(enclave, NODE, RECORD, sealed.holder.both, before)
    assert sealed.unlock() is not None


def test_an_approval_of_an_older_version_opens_nothing_once_a_newer_one_was_used(sealed: Node) -> None:
    with sealed.gate.use() as enclave:
        old = sealed.holder.approval(enclave)
        new = sealed.holder.approval(enclave, old.version + 1)
        sealed.vault.open(enclave, NODE, RECORD, sealed.holder.both, new)
        sealed.vault.open(enclave, NODE, RECORD, sealed.holder.both, old)
        sealed.vault.raise_floor(enclave, new.version)
        sealed.vault.open(enclave, NODE, RECORD, sealed.holder.both, new)
        with pytest.raises(AuthorisationFailed, match="below the floor"):
            sealed.vault.open(enclave, NODE, RECORD, sealed.holder.both, old)


def test_an_approval_by_another_key_or_none_opens_nothing(sealed: Node) -> None:
    from tests.agent.sealing import Holder

    with sealed.gate.use() as enclave:
        for approval in (Holder().approval(enclave), None):
            with pytest.raises(AuthorisationFailed):
                sealed.vault.open(enclave, NODE, RECORD, sealed.holder.both, approval)


def test_another_node_or_record_opens_nothing(sealed: Node) -> None:
    with pytest.raises(ProfileError, match="another node"):
        sealed.open(node="cd" * 32)
    record_path(sealed).rename(sealed.state.profiles / "fedcba.1.record")
    with pytest.raises(ProfileError, match="another record"):
        sealed.open(record="fedcba")
    with pytest.raises(ProfileError, match="no sealed profile"):
        sealed.open()


@pytest.mark.parametrize("part", ["admin", "node_id", "modalities", "codes", "share", "sealed_pepper", "key"])
def test_a_changed_header_opens_nothing(sealed: Node, part: str) -> None:
    """The associated data is the header's own bytes, so that every part of the context is bound."""
    path = record_path(sealed)
    record = decode(path.read_bytes(), RecordFile)
    header = json.loads(record.header)
    header[part] = {
        "admin": "mallory",
        "node_id": header["node_id"],
        "modalities": header["modalities"][:1],
        "codes": {"face": "arcface"},
        "share": 2,
        "sealed_pepper": header["sealed_pepper"],
        "key": header["key"] | {"guard": None},
    }[part]
    header["created_at"] += 1 if part in {"node_id", "sealed_pepper"} else 0
    changed = msgspec.structs.replace(record, header=json.dumps(header, separators=(",", ":"), sort_keys=True).encode())
    assert changed.header != record.header
    path.write_bytes(encode(changed))
    with pytest.raises(ProfileError):
        sealed.open()


def test_an_untouched_record_written_back_still_opens(sealed: Node) -> None:
    """Negative control of the test above: the rewriting itself does no harm."""
    path = record_path(sealed)
    path.write_bytes(encode(decode(path.read_bytes(), RecordFile)))
    assert sealed.open().templates == TEMPLATES


@pytest.mark.parametrize("position", [0, 5, -1])
def test_a_changed_ciphertext_opens_nothing(sealed: Node, position: int) -> None:
    path = record_path(sealed)
    record = decode(path.read_bytes(), RecordFile)
    ciphertext = bytearray(record.ciphertext)
    ciphertext[position] ^= 1
    path.write_bytes(encode(msgspec.structs.replace(record, ciphertext=bytes(ciphertext))))
    with pytest.raises(ProfileError):
        sealed.open()


def test_garbage_in_the_place_of_a_record_is_refused(sealed: Node) -> None:
    record_path(sealed).write_bytes(os.urandom(500))
    with pytest.raises(ProfileError, match="damaged"):
        sealed.open()


def test_a_record_of_an_earlier_version_is_refused_with_the_remedy(sealed: Node) -> None:
    record_path(sealed).unlink()
    (sealed.state.profiles / f"{RECORD}.record").write_bytes(b"{}")
    with pytest.raises(ProfileError, match="another version") as refusal:
        sealed.open()
    assert "Enrol this administrator again" in refusal.value.remedy
    [(record_id, found)] = sealed.vault.listing()
    assert record_id == RECORD and isinstance(found, ProfileError)


def test_no_secret_lies_in_clear_on_disk(sealed: Node) -> None:
    found = sealed.unlock()
    assert found is not None
    stored = b"".join(path.read_bytes() for path in sealed.state.root.rglob("*") if path.is_file())
    record = decode(record_path(sealed).read_bytes(), RecordFile)
    everything = stored + record.header + record.ciphertext
    helpers = [share.helper for share in found[0].version.secrets.shares.bound.values()]
    secrets = (
        *TEMPLATES.values(),
        SIDES["voice"],
        found[0].root,
        found[0].auth(),
        *helpers,
        *sealed.holder.shares.values(),
    )
    assert not any(secret in everything for secret in secrets)
    assert b"alice" in everything


def test_the_authorisation_value_is_another_one_under_another_root(sealed: Node) -> None:
    right, wrong = sealed.unlock(), sealed.open().attempts(probes(2), frozenset())
    assert right is not None
    assert all(one.auth() != right[0].auth() for one in wrong)


def test_nothing_secret_shows_in_a_repr(sealed: Node) -> None:
    found = sealed.unlock()
    assert found is not None
    text = repr((sealed.open(), found[0], sealed.holder.both))
    version, share = found[0].version, sealed.holder.both.present
    secrets = (found[0].root, found[0].auth(), version.pepper, version.past_key, version.secrets.masked_auth, share)
    assert not any(repr(secret) in text for secret in (*secrets, *TEMPLATES.values()))
    assert "private=" not in text


def test_what_opened_a_profile_is_wiped_after_it(sealed: Node) -> None:
    profile = sealed.open()
    profile.wipe()
    assert profile.versions[0].pepper == bytes(32)
    assert profile.versions[0].past_key == bytes(32)


def test_the_counter_grows_and_survives_a_restart(sealed: Node) -> None:
    assert [sealed.vault.accept(sealed.open().versions[0], {}) for _ in range(3)] == [1, 2, 3]
    sealed.vault = ProfileVault(sealed.state, os.urandom)
    assert sealed.vault.accept(sealed.open().versions[0], {}) == 4


def test_a_lost_counter_stops_the_profile(sealed: Node) -> None:
    (sealed.state.profiles / f"{RECORD}.counter").unlink()
    with pytest.raises(ProfileError, match="counter"):
        sealed.open()


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"1.5", b"[1]"])
def test_a_damaged_counter_stops_the_profile(sealed: Node, content: bytes) -> None:
    (sealed.state.profiles / f"{RECORD}.counter").write_bytes(content)
    with pytest.raises(AgentError):
        sealed.open()


def test_a_record_id_that_is_a_path_is_refused(sealed: Node) -> None:
    for action in (sealed.vault.header, sealed.vault.discard):
        with pytest.raises(ProtocolViolation):
            action("../identity")
    with pytest.raises(ProtocolViolation):
        sealed.open(record="../identity")


def test_discarding_leaves_nothing(sealed: Node) -> None:
    sealed.present()
    sealed.vault.discard(RECORD)
    assert list(sealed.state.profiles.iterdir()) == []
    assert sealed.vault.headers() == []


def test_a_record_under_another_name_does_not_even_show_its_header(sealed: Node) -> None:
    """Two records that changed places would otherwise prompt one administrator for the other."""
    record_path(sealed).rename(sealed.state.profiles / "fedcba.1.record")
    with pytest.raises(ProfileError, match="another record"):
        sealed.vault.header("fedcba")


@pytest.mark.parametrize("blob", [b"", b"\x00", b"\xff" * 40, os.urandom(300)])
def test_a_crooked_pepper_is_a_refusal_and_no_builtin_exception(sealed: Node, blob: bytes) -> None:
    path = record_path(sealed)
    record = decode(path.read_bytes(), RecordFile)
    header = msgspec.structs.replace(decode(record.header, RecordHeader), sealed_pepper=blob)
    path.write_bytes(encode(msgspec.structs.replace(record, header=encode(header))))
    with pytest.raises((ProfileError, AuthorisationFailed)):
        sealed.open()


@pytest.mark.parametrize("length", [0, 1, 100, 1000])
def test_a_truncated_record_is_refused_with_a_remedy(sealed: Node, length: int) -> None:
    record_path(sealed).write_bytes(record_path(sealed).read_bytes()[:length])
    with pytest.raises(ProfileError, match="damaged") as refusal:
        sealed.vault.header(RECORD)
    assert refusal.value.remedy


def test_a_profile_without_a_bound_modality_is_not_made(sealed: Node) -> None:
    made = draft("r2")
    bare = type(made)(**(vars(made) | {"bound": {}, "templates": {"fingerprint": b"t", "other": b"t"}}))
    sealing = Sealing(NODE, sealed.holder.first, sealed.holder.point, True, bytes(32))
    with sealed.gate.use() as enclave, pytest.raises(ProfileError, match="two modalities"):
        sealed.vault.seal(enclave, bare, sealing)
