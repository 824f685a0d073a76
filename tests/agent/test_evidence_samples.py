"""What a presentation leaves of its samples: openings where policy and consent allow any, replay tags in evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agent.enclave import EnclaveGate
from agent.enrolling import consent_to
from agent.openings import OpeningStore
from agent.profile import ProfileVault
from agent.state import StateDirectory
from protocol.codec import ProtocolViolation
from protocol.evidence import EvidenceClaims, commit, commitment_context, read_claims
from protocol.openings import Opening, opened_root, openings_clause
from tests.agent.people import BindableText, TextPipeline, pipelines
from tests.agent.sealing import Node, text_draft
from tests.agent.test_presentation import GENUINE, RECORD, Stage, stage
from tests.agent.world import delivery_key, identity, kos_for

__all__ = ["stage"]
AGREED = "1+openings-3600"
ASKED = {"activation": {"opening_s": 600.0}}


@pytest.fixture
def agreed(gate: EnclaveGate, state: StateDirectory, stage: Stage) -> Stage:
    """As `stage`, where the person agreed to openings being kept for an hour."""
    return enrolled(stage, gate, state, AGREED)


def enrolled(stage: Stage, gate: EnclaveGate, state: StateDirectory, consent: str) -> Stage:
    node = Node(gate, state, ProfileVault(state, os.urandom))
    node.vault.discard(RECORD)
    made = replace(text_draft(RECORD, {name: line[0] for name, line in GENUINE.items()}), consent_version=consent)
    sealed = node.enrol(made)
    with gate.use() as enclave:
        delivery = delivery_key(enclave)
    return replace(stage, node=node, vault=node.vault, profile_public=sealed.key.certified.public, delivery=delivery)


def store(stage: Stage) -> OpeningStore:
    return OpeningStore(stage.gate.state.openings, os.urandom, time.time)


def kept(stage: Stage) -> list[Opening]:
    with stage.gate.use() as enclave:
        return store(stage).open(enclave, "c1")


def files(stage: Stage) -> list[str]:
    return [path.name for path in stage.gate.state.openings.iterdir()]


def claims_of(stage: Stage, **changes: Any) -> EvidenceClaims:
    answer = stage.present(GENUINE, **changes)
    assert answer.evidence is not None
    return read_claims(answer.evidence.token)


def test_openings_that_are_kept_lead_to_the_commitment_of_the_evidence(agreed: Stage) -> None:
    claims = claims_of(agreed, **ASKED)
    openings = kept(agreed)
    assert [one.model.modality for one in openings] == ["fingerprint", "face", "voice"]
    assert [one.features for one in openings] == [text.ljust(8, "\0").encode() for text in ("finger", "face", "voice")]
    assert {opened_root(one) for one in openings} == {claims.commitment}
    assert {one.consent_version for one in openings} == {AGREED}
    assert (kept_for(agreed), len(files(agreed))) == (600, 1)


def kept_for(stage: Stage) -> int:
    (one,) = store(stage).kept()
    return one.until - one.made_at


def test_consent_bounds_what_the_authority_asks_for(agreed: Stage) -> None:
    claims_of(agreed, activation={"opening_s": 86_400.0})
    assert kept_for(agreed) == 3600


def test_nothing_is_kept_unless_the_authority_asks(agreed: Stage) -> None:
    claims_of(agreed)
    assert files(agreed) == []


def test_nothing_is_kept_without_consent_whatever_the_authority_asks(stage: Stage) -> None:
    claims_of(stage, **ASKED)
    assert files(stage) == []


def test_nobody_consents_to_what_the_text_does_not_say(stage: Stage) -> None:
    member = identity(kos_for(stage.delivery), stage.delivery)
    hidden = stage.node.holder.session(member, consent_version=AGREED)
    with pytest.raises(ProtocolViolation, match="does not say so"):
        consent_to(hidden, 1.0)
    open_about_it = msgspec.structs.replace(hidden, consent_text="May we?" + openings_clause(3600))
    assert consent_to(open_about_it, 1.0).version == AGREED


def test_a_presentation_that_opens_nothing_keeps_nothing(agreed: Stage) -> None:
    shows = {"fingerprint": ["finger"], "face": ["other"], "voice": ["other"]}
    assert agreed.present(shows, **ASKED).evidence is None
    assert files(agreed) == []


def test_evidence_is_given_where_openings_cannot_be_kept(agreed: Stage) -> None:
    agreed.gate.state.openings.rmdir()
    assert claims_of(agreed, **ASKED).commitments


def test_an_opening_that_is_destroyed_leaves_a_commitment_that_guessing_does_not_open(stage: Stage) -> None:
    """The features are known here, and the blinding is not. The control: with it the leaf comes out."""
    claims = claims_of(stage)
    model, context = claims.modalities[0], commitment_context(claims.iss, claims.record, claims.challenge)
    features = b"finger\0\0"
    assert commit(bytes(32), context, b"n" * 32, model, features) != claims.commitments[0]


class _Telling:
    """Knows each sample by its text, and takes none for a copy, so that the node lets all pass."""

    def digest(self, sample: Any) -> bytes:
        text: str = sample.text
        return text.encode()

    def replayed(self, past: Sequence[bytes], sample: Any) -> bool:
        del past, sample
        return False

    repeated = replayed


class _TellingFinger(_Telling, TextPipeline):
    pass


class _TellingBound(_Telling, BindableText):
    pass


TELLING = pipelines() | {"fingerprint": _TellingFinger("fingerprint"), "face": _TellingBound("face")}


def test_the_same_sample_has_the_same_tag_over_every_refresh_and_another_has_another(stage: Stage) -> None:
    first, second = (claims_of(stage, pipelines=TELLING).tags for _ in range(2))
    assert first == second and [*first] == ["fingerprint", "face"]
    assert first["fingerprint"] != first["face"]
    other = stage.present(GENUINE | {"face": ["face of another day"]}, pipelines=TELLING).evidence
    assert other is not None
    tags = read_claims(other.token).tags
    assert tags["face"] != first["face"] and tags["fingerprint"] == first["fingerprint"]


def test_a_modality_whose_captures_are_not_told_apart_has_no_tag(stage: Stage) -> None:
    claims = claims_of(stage, pipelines=TELLING)
    assert not isinstance(claims.replay, msgspec.UnsetType)
    assert [len(tag) for tag in claims.replay] == [32, 32, 0]
    assert claims_of(stage).tags == {}


def test_the_same_sample_has_another_tag_in_every_other_profile(
    stage: Stage, gate: EnclaveGate, state: StateDirectory
) -> None:
    """Nobody who has the tags of two profiles can tell that a sample is in both."""
    first = claims_of(stage, pipelines=TELLING).tags
    again = enrolled(stage, gate, state, "1")
    second = claims_of(again, pipelines=TELLING).tags
    assert first.keys() == second.keys() and {*first.values()}.isdisjoint(second.values())


def test_tags_hang_on_the_sealed_pepper(stage: Stage) -> None:
    """Which the authority never had; the release shares that it has change nothing."""
    version = stage.node.open(record=RECORD).versions[0]
    before = version.tag_key()
    assert replace(version, pepper=bytes(32)).tag_key() != before
    claims_of(stage)
    after = stage.node.open(record=RECORD).versions[0]
    assert after.header.share != version.header.share
    assert after.tag_key() == before
