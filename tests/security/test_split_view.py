"""CVE-2022-1053: one service checked the real EK, another used somebody else's AK: two views of one node."""

from __future__ import annotations

from typing import Any

import pytest

from authority import joining
from hal import KeyUse
from protocol.digests import join_digest
from protocol.messages import JoinProof, Outcome
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import answered
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, replaced


def check_what_was_checked_is_what_is_used(site: Site, joining_node: Machine, foreign: Machine) -> None:
    """The credential is activated by the registered TPM; the quote and the delivery key are another TPM's."""
    request = joining_node.request(site.token(joining_node.name))
    challenge = site.start_join(request)
    digest = join_digest(challenge.join_id, challenge.nonce, request.csr)
    secret = joining_node.enclave.activate(challenge.credential_blob, challenge.encrypted_secret)
    _, key = joining_node.certified(KeyUse.AGREE, digest)
    proof = JoinProof(secret=secret, quote=foreign.quote(digest), delivery_key=key)
    refused = site.refuses(joining.finish_join, site.ca, challenge.join_id, proof)
    assert refused.code is ErrorCode.ATTESTATION_REJECTED


def check_the_registered_key_decides(site: Site, node: Machine, foreign: Machine) -> None:
    """A registration changed between two challenges is the one that the second is decided by."""
    assert answered(site, node) is Outcome.ACCEPTED
    site.set_node(node.node_id, ak_public=foreign.enclave.attestation_key())
    assert answered(site, node) is Outcome.REJECTED


def test_what_was_checked_is_what_is_used(site: Site, enrolled: Machine, other: Machine) -> None:
    check_what_was_checked_is_what_is_used(site, other, enrolled)


def test_an_authority_that_takes_the_key_from_the_proof_is_noticed(
    site: Site, enrolled: Machine, other: Machine
) -> None:
    genuine, own = joining.verify_quote, enrolled.enclave.attestation_key()

    def by_another_view(attest: bytes, signature: bytes, _ak: bytes, *rest: Any) -> Any:
        return genuine(attest, signature, own, *rest)

    with replaced(joining, "verify_quote", by_another_view), pytest.raises(NOTICED):
        check_what_was_checked_is_what_is_used(site, other, enrolled)


def test_the_registered_key_decides(site: Site, enrolled: Machine, other: Machine) -> None:
    check_the_registered_key_decides(site, enrolled, other)


def test_an_authority_with_an_older_view_is_noticed(site: Site, enrolled: Machine, other: Machine) -> None:
    """The change reaches the registrar's table and not the verifier's."""

    class TwoTables(Site):
        def set_node(self, node_id: str, **values: Any) -> None:
            values.pop("ak_public")

    with pytest.raises(NOTICED):
        check_the_registered_key_decides(TwoTables(**vars(site)), enrolled, other)
