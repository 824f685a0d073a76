"""What is remembered of earlier captures: sealed, bounded, counted, erased."""

from __future__ import annotations

import os

import msgspec
import pytest

from agent.enclave import EnclaveGate
from agent.errors import ProfileError
from agent.profile import OpenProfile, ProfileVault
from agent.profile._past import RING, PastFile
from agent.state import StateDirectory
from protocol.codec import decode, encode
from tests.agent.sealing import Node, draft

RECORD, OTHER = "r1", "r2"
ENROLLED = {"face": [b"first digest", b"second digest"]}


class Vault:
    """A vault with two sealed records of one past, each opened by a share of its own."""

    def __init__(self, gate: EnclaveGate, state: StateDirectory) -> None:
        self.gate, self.state, self.vault = gate, state, ProfileVault(state, os.urandom)
        self.nodes = {record: Node(gate, state, self.vault) for record in (RECORD, OTHER)}
        for record, node in self.nodes.items():
            node.enrol(draft(record, ENROLLED))

    def open(self, record: str = RECORD) -> OpenProfile:
        return self.nodes[record].open(record=record)

    def present(self, digest: bytes) -> int:
        """What a presentation leaves before its evidence does."""
        return self.vault.accept(self.open().versions[0], {"face": [digest]} if digest else {})

    def fail(self, *digests: bytes) -> None:
        """What a presentation without evidence does."""
        self.vault.remember(self.open(), {"face": list(digests)})

    def path(self, record: str = RECORD):
        return self.state.profiles / f"{record}.1.past"


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
    kept.fail(*(b"%d" % number for number in range(RING)))
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
    assert repr(profile.versions[0].past_key) not in repr(profile)


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
    accepted = kept.present(b"")
    for path, content in zip(paths, older, strict=True):
        path.write_bytes(content)
    assert kept.present(b"") == accepted


def test_an_older_copy_does_not_catch_up_by_failed_presentations_nor_by_a_raised_counter(kept: Vault) -> None:
    """The authority sees no number of a failed presentation, and whoever writes to the disk can write the counter."""
    counter = kept.state.profiles / f"{RECORD}.counter"
    older, before = kept.path().read_bytes(), counter.read_bytes()
    kept.present(b"third digest")
    accepted = counter.read_bytes()
    kept.path().write_bytes(older)
    counter.write_bytes(before)
    for _ in range(3):
        kept.fail()
    counter.write_bytes(accepted)
    with pytest.raises(ProfileError, match="older copy"):
        kept.open()
    counter.write_bytes(before)
    assert kept.present(b"") == decode(accepted, int)


def test_failed_presentations_and_a_counter_of_its_own_age_do_no_harm(kept: Vault) -> None:
    """Negative control of the test above."""
    kept.present(b"third digest")
    for _ in range(3):
        kept.fail(b"another digest")
    assert len(kept.open().past["face"]) == 6
    assert kept.present(b"") == 2


def test_a_crash_between_remembering_and_counting_does_no_harm(kept: Vault) -> None:
    counter = kept.state.profiles / f"{RECORD}.counter"
    before = counter.read_bytes()
    kept.present(b"third digest")
    counter.write_bytes(before)
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
