"""A registered node whose attestation key and profile key are in software, so that evidence is made quickly."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import Connection, select

from authority.appraisal import Presented, appraise
from authority.store import schema
from authority.verdict import Appraisal
from protocol.digests import evidence_digest
from protocol.evidence import EvidenceClaims, encode_token
from protocol.messages import Activation, EvidenceSubmission, QuoteEvidence
from tests.authority.challenges.answers import activated, challenge, set_profile
from tests.authority.nodes import SELECTION, Machine, Site
from tests.authority.tpm import forge


class SoftwareNode:
    """Evidence for an activated challenge of `machine`, by keys of ours."""

    def __init__(self, site: Site, machine: Machine) -> None:
        self.site, self.machine = site, machine
        self.forger, self.key = forge.Forger(), ec.generate_private_key(ec.SECP256R1())
        kept = json.loads(site.node(machine.node_id).reference_pcrs)
        self.pcrs = {int(index): bytes.fromhex(value) for index, value in kept.items()}
        site.set_node(machine.node_id, ak_public=self.forger.public, reset_count=0, clock=0)
        set_profile(site, public=forge.ecc_public(self.key, forge.SIGNER), locked_until=None, failures_in_row=0)

    def activated(self) -> Activation:
        return activated(self.site, self.machine)

    def sign(self, digest: bytes) -> bytes:
        r, s = utils.decode_dss_signature(self.key.sign(digest, ec.ECDSA(utils.Prehashed(SHA256()))))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def quote(self, digest: bytes) -> QuoteEvidence:
        chosen, values = forge.selection((forge.SHA256, SELECTION)), [self.pcrs[pcr] for pcr in SELECTION]
        attest = self.forger.quote(chosen, forge.pcr_digest(values), extra=digest)
        return QuoteEvidence(attest=attest, signature=self.forger.sign(attest), pcrs=self.pcrs)

    def evidence(self, claims: EvidenceClaims) -> EvidenceSubmission:
        token = encode_token(claims, self.sign)
        return EvidenceSubmission(token=token, quote=self.quote(evidence_digest(token)))

    def genuine(self, activation: Activation) -> EvidenceSubmission:
        return self.evidence(self.machine.claims(activation))

    def presented(self, activation: Activation) -> Presented:
        profile = self.site.profile(activation.record_id)
        row = challenge(self.site, activation.challenge_id)
        return Presented(self.site.node(self.machine.node_id), row, profile, self.machine.certificate, 5.0)

    def appraised(self, conn: Connection, presented: Presented, evidence: EvidenceSubmission) -> Appraisal:
        return appraise(conn, self.site.rt, presented, evidence, self.site.clock)


def replaced(evidence: EvidenceSubmission, **quote: Any) -> EvidenceSubmission:
    """The same with another part of the quote."""
    return msgspec.structs.replace(evidence, quote=msgspec.structs.replace(evidence.quote, **quote))


def close(site: Site, challenge_id: str) -> None:
    """Take a challenge back, so that another can begin."""
    row = schema.challenge
    site.read(lambda conn: conn.execute(row.update().where(row.c.id == challenge_id).values(state="withdrawn")))
    assert site.read(lambda conn: conn.scalar(select(row.c.state).where(row.c.id == challenge_id))) == "withdrawn"
