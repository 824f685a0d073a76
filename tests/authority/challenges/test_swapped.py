"""Two genuine challenges, every part of one in the other's evidence; and every byte of evidence mutated."""

from __future__ import annotations

import msgspec
import pytest

from authority.verdict import Accepted, Rejected
from protocol.digests import evidence_digest
from protocol.evidence import EvidenceClaims, encode_token, merkle_root, read_claims
from protocol.messages import EvidenceSubmission
from tests.authority.challenges.software_node import SoftwareNode, close, replaced
from tests.authority.nodes import Machine, Site, model

STEP = 37
"""The quick test mutates every so manieth byte; the slow one all of them."""


@pytest.fixture
def node(site: Site, enrolled: Machine) -> SoftwareNode:
    return SoftwareNode(site, enrolled)


CLAIMS = ("iss", "eat_nonce", "challenge", "record", "certificate", "counter", "modalities", "sensors", "commitments")
PARTS = (*CLAIMS, "whole token", "whole quote", "attest", "signature", "pcrs", "token's signature", "all of it")


def other_claims(claims: EvidenceClaims) -> EvidenceClaims:
    """What another node, person and time would claim."""
    return msgspec.structs.replace(
        claims,
        iss="f" * 64,
        record="e" * 32,
        certificate="d" * 64,
        counter=0,
        modalities=[model("voice"), model("face", model="another")],
        sensors=[*reversed(claims.sensors)],
        commitments=[bytes(32)] * 2,
        commitment=merkle_root([bytes(32)] * 2),
    )


def swapped(part: str, node: SoftwareNode, mine: EvidenceSubmission, theirs: EvidenceSubmission) -> EvidenceSubmission:
    """`mine` with one part of `theirs`; the claims are signed and quoted again by the node's own keys."""
    claims, foreign = read_claims(mine.token), read_claims(theirs.token)
    match part:
        case "whole token":
            return msgspec.structs.replace(mine, token=theirs.token)
        case "whole quote":
            return msgspec.structs.replace(mine, quote=theirs.quote)
        case "attest" | "signature" | "pcrs":
            return replaced(mine, **{part: getattr(theirs.quote, part)})
        case "token's signature":
            token = mine.token.rpartition(".")[0] + "." + theirs.token.rpartition(".")[2]
            return msgspec.structs.replace(mine, token=token, quote=node.quote(evidence_digest(token)))
        case "all of it":
            return theirs
        case _:
            claims = msgspec.structs.replace(claims, **{part: getattr(foreign, part)})
            token = encode_token(claims, node.sign)
            return EvidenceSubmission(token=token, quote=node.quote(evidence_digest(token)))


@pytest.mark.parametrize("part", PARTS)
def test_no_part_of_another_challenge_is_accepted(site: Site, node: SoftwareNode, part: str):
    old = node.activated()
    past = node.genuine(old)
    close(site, old.challenge_id)
    new = node.activated()
    presented = node.presented(new)
    mine = node.genuine(new)
    theirs = past if part in {"eat_nonce", "challenge"} else node.evidence(other_claims(read_claims(past.token)))
    if part == "pcrs":
        theirs = replaced(theirs, pcrs={**theirs.quote.pcrs, 7: b"\1" * 32})
    with_other_part = swapped(part, node, mine, theirs)
    found, genuine = site.read(
        lambda conn: (node.appraised(conn, presented, with_other_part), node.appraised(conn, presented, mine))
    )
    assert isinstance(found, Rejected), part
    assert isinstance(genuine, Accepted)


OF_DEVICES = {"presence", "flashes", "infrared"}
FREE = {"eat_profile", "commitment", "elapsed", "quality", "margin", "agent", "replay"} | OF_DEVICES
"""Claims that are alike in all evidence, follow from others, or are what they are whoever makes them.

A tag of a sample that comes again is refused by memory, not by the challenge: `test_samples.py`. Another
infrared camera than the enrolled one: `test_infrared.py`.
"""


def test_a_new_claim_is_swapped_or_said_to_be_free() -> None:
    assert {*CLAIMS} | FREE == {*EvidenceClaims.__struct_fields__}


OF_OTHERS = ("eat_nonce", "challenge", "record", *(part for part in PARTS if part not in (*CLAIMS, "pcrs")))


@pytest.mark.parametrize("part", OF_OTHERS)
def test_no_part_of_another_administrator_s_challenge_is_accepted(site: Site, enrolled: Machine, part: str):
    """Two genuine challenges of two people at one node, whose keys are even the same."""
    ada = enrolled.record_id
    enrolled.enrol(site, "bob")
    node = SoftwareNode(site, enrolled)
    activation = node.activated()
    theirs, theirs_presented = node.genuine(activation), node.presented(activation)
    assert site.read(lambda conn: isinstance(node.appraised(conn, theirs_presented, theirs), Accepted))
    close(site, activation.challenge_id)
    enrolled.record_id = ada
    activation = node.activated()
    mine, presented = node.genuine(activation), node.presented(activation)
    with_other_part = swapped(part, node, mine, theirs)
    found = site.read(lambda conn: [node.appraised(conn, presented, each) for each in (with_other_part, mine)])
    assert isinstance(found[0], Rejected), part
    assert isinstance(found[1], Accepted)


def mutations(data: bytes, step: int):
    for at in range(0, len(data), step):
        yield data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def accepted(site: Site, node: SoftwareNode, step: int) -> tuple[int, int]:
    """How many mutations of one piece of evidence were tried, and accepted."""
    activation = node.activated()
    presented, good = node.presented(activation), node.genuine(activation)

    def count(conn) -> tuple[int, int]:
        assert isinstance(node.appraised(conn, presented, good), Accepted)
        tokens = (each.decode("latin-1") for each in mutations(good.token.encode(), step))
        bad = [msgspec.structs.replace(good, token=token) for token in tokens]
        for name in ("attest", "signature"):
            bad += [replaced(good, **{name: each}) for each in mutations(getattr(good.quote, name), step)]
        for pcr, value in good.quote.pcrs.items():
            bad += [replaced(good, pcrs={**good.quote.pcrs, pcr: each}) for each in mutations(value, step)]
        return len(bad), sum(isinstance(node.appraised(conn, presented, each), Accepted) for each in bad)

    tried = site.read(count)
    close(site, activation.challenge_id)
    return tried


def test_mutated_evidence_is_not_accepted(site: Site, node: SoftwareNode):
    tried, wrongly = accepted(site, node, STEP)
    assert tried > 50 and wrongly == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_byte_of_a_hundred_quotes_and_tokens_can_be_mutated(site: Site, enrolled: Machine):
    rules = msgspec.structs.replace(site.policy.lockout, releases_per_day=100)
    site.policy = msgspec.structs.replace(site.policy, lockout=rules)
    results = [accepted(site, SoftwareNode(site, enrolled), 1) for _ in range(100)]
    assert sum(tried for tried, _ in results) > 100_000
    assert sum(wrongly for _, wrongly in results) == 0
