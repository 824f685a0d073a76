"""What is remembered of earlier captures: sealed, bounded, counted, erased."""

from __future__ import annotations

import os

import msgspec
import pytest

from agent.enclave import EnclaveGate
from agent.errors import ProfileError
from agent.profile import OpenProfile, ProfileDraft, ProfileVault
from agent.profile._past import RING, PastFile
from agent.state import StateDirectory
from protocol.codec import decode, encode
from protocol.messages import ModalityModel, SensorIdentity
from tests.agent.world import NODE, SELECTION

RECORD, OTHER = "r1", "r2"
SHARE = b"s" * 32
ENROLLED = {"face": [b"first digest", b"second digest"]}


class Vault:
    """A vault with two sealed records of one past."""

    def __init__(self, gate: EnclaveGate, state: StateDirectory) -> None:
        self.gate, self.state, self.vault = gate, state, ProfileVault(state, os.urandom)
        sensor = SensorIdentity(kind="camera", driver="d", driver_sha256="0" * 64, transport="v4l2", port="p")
        model = ModalityModel(modality="face", model="m", parameters="1")
        for record in (RECORD, OTHER):
            draft = ProfileDraft(record, "alice", [model], [sensor], "1", 5.0, {"face": b"template"}, ENROLLED)
            with gate.use() as enclave:
                self.vault.seal(enclave, NODE, draft, SHARE, tuple(SELECTION), bytes(32))

    def open(self, record: str = RECORD) -> OpenProfile:
        with self.gate.use() as enclave:
            return self.vault.open(enclave, NODE, record, SHARE)

    def present(self, digest: bytes) -> None:
        """What a presentation does: remember, then count."""
        self.vault.remember(self.open(), {"face": [digest]})
        self.vault.next_counter(RECORD)

    def path(self, record: str = RECORD):
        return self.state.profiles / f"{record}.past"


@pytest.fixture
def kept(gate: EnclaveGate, state: StateDirectory) -> Vault:
    return Vault(gate, state)


def test_the_captures_of_the_enrolment_are_known_from_the_start(kept: Vault) -> None:
    assert kept.open().past == ENROLLED


def test_each_presentation_adds_to_it_and_a_restart_loses_nothing(kept: Vault) -> None:
    kept.present(b"third digest")
    assert kept.open().past == {"face": [*ENROLLED["face"], b"third digest"]}


def test_the_oldest_give_way_and_other_modalities_do_not(kept: Vault) -> None:
    kept.vault.remember(kept.open(), {"voice": [b"said once"]})
    kept.vault.remember(kept.open(), {"face": [b"%d" % number for number in range(RING)]})
    past = kept.open().past
    assert len(past["face"]) == RING
    assert past["face"][0] == b"0"
    assert past["voice"] == [b"said once"]


def test_no_digest_lies_in_clear_or_shows_in_a_repr(kept: Vault) -> None:
    kept.present(b"third digest")
    stored = b"".join(path.read_bytes() for path in kept.state.root.rglob("*") if path.is_file())
    sealed = decode(kept.path().read_bytes(), PastFile).ciphertext
    assert b"digest" not in stored + sealed
    profile = kept.open()
    assert "digest" not in repr(profile)
    assert repr(profile.past_key) not in repr(profile)


@pytest.mark.parametrize("position", [0, 7, -1])
def test_a_changed_past_opens_no_profile(kept: Vault, position: int) -> None:
    found = decode(kept.path().read_bytes(), PastFile)
    ciphertext = bytearray(found.ciphertext)
    ciphertext[position] ^= 1
    kept.path().write_bytes(encode(msgspec.structs.replace(found, ciphertext=bytes(ciphertext))))
    with pytest.raises(ProfileError, match="changed") as refusal:
        kept.open()
    assert "keyvigil enroll" in refusal.value.remedy


def test_an_untouched_past_written_back_still_opens(kept: Vault) -> None:
    """Negative control of the tests around it: the rewriting itself does no harm."""
    kept.path().write_bytes(encode(decode(kept.path().read_bytes(), PastFile)))
    assert kept.open().past == ENROLLED


def test_a_number_that_was_raised_by_hand_opens_no_profile(kept: Vault) -> None:
    found = decode(kept.path().read_bytes(), PastFile)
    kept.path().write_bytes(encode(msgspec.structs.replace(found, number=1000)))
    with pytest.raises(ProfileError, match="changed"):
        kept.open()


def test_an_older_copy_opens_no_profile(kept: Vault) -> None:
    older = kept.path().read_bytes()
    kept.present(b"third digest")
    newer = kept.path().read_bytes()
    kept.path().write_bytes(older)
    with pytest.raises(ProfileError, match="older copy"):
        kept.open()
    kept.path().write_bytes(newer)
    assert len(kept.open().past["face"]) == 3


def test_an_older_copy_with_its_counter_repeats_a_number_for_the_authority_to_refuse(kept: Vault) -> None:
    """Why the counter of the evidence is part of it: tests/authority holds that a repeated number is refused."""
    paths = [kept.path(), kept.state.profiles / f"{RECORD}.counter"]
    older = [path.read_bytes() for path in paths]
    kept.vault.remember(kept.open(), {"face": [b"third digest"]})
    accepted = kept.vault.next_counter(RECORD)
    for path, content in zip(paths, older, strict=True):
        path.write_bytes(content)
    kept.vault.remember(kept.open(), {"face": [b"third digest"]})
    assert kept.vault.next_counter(RECORD) == accepted


def test_a_crash_between_remembering_and_counting_does_no_harm(kept: Vault) -> None:
    kept.vault.remember(kept.open(), {"face": [b"third digest"]})
    kept.present(b"fourth digest")
    assert kept.open().past["face"][-2:] == [b"third digest", b"fourth digest"]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 40, os.urandom(300)])
def test_a_past_that_is_missing_or_damaged_opens_no_profile(kept: Vault, content: bytes | None) -> None:
    if content is None:
        kept.path().unlink()
    else:
        kept.path().write_bytes(content)
    with pytest.raises(ProfileError, match=r"missing|damaged") as refusal:
        kept.open()
    assert refusal.value.remedy


def test_the_past_of_another_record_opens_no_profile(kept: Vault) -> None:
    kept.path().write_bytes(kept.path(OTHER).read_bytes())
    with pytest.raises(ProfileError, match="another record"):
        kept.open()


def test_erasing_the_person_erases_it(kept: Vault) -> None:
    kept.vault.discard(RECORD)
    assert not kept.path().exists()
    assert kept.path(OTHER).exists()
