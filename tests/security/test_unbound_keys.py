"""CVE-2021-3406: EK and AK came from the node, and nothing showed that one TPM holds both."""

from __future__ import annotations

from typing import Any

import pytest

from authority import joining
from authority.tpm import name as tpm_name
from hal import DeviceError, KeyUse
from protocol.digests import join_digest
from protocol.messages import JoinProof
from protocol.problems import ErrorCode
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, replaced


def check_two_tpms_are_no_node(site: Site, endorsed: Machine, attesting: Machine) -> None:
    """An endorsed TPM lends its EK to the attestation key of another, which does the quoting."""
    request = endorsed.request(site.token(endorsed.name), ak_public=attesting.enclave.attestation_key())
    challenge = site.start_join(request)
    digest = join_digest(challenge.join_id, challenge.nonce, request.csr)
    try:
        secret = endorsed.enclave.activate(challenge.credential_blob, challenge.encrypted_secret)
    except DeviceError:  # the TPM itself sees that the key is not its own: all that is left is to guess
        secret = bytes(32)
    _, key = attesting.certified(KeyUse.AGREE, digest)
    proof = JoinProof(secret=secret, quote=attesting.quote(digest), delivery_key=key)
    refused = site.refuses(joining.finish_join, site.ca, challenge.join_id, proof)
    assert refused.code is ErrorCode.ATTESTATION_REJECTED


def test_two_tpms_are_no_node(site: Site, enrolled: Machine, other: Machine) -> None:
    check_two_tpms_are_no_node(site, other, enrolled)


def test_a_credential_that_names_no_attestation_key_is_noticed(site: Site, enrolled: Machine, other: Machine) -> None:
    """MakeCredential over the name of whatever key the endorsed TPM really has."""
    genuine, own = joining.make_credential, tpm_name(other.enclave.attestation_key())

    def unbound(ek: bytes, _name: bytes, *rest: Any) -> Any:
        return genuine(ek, own, *rest)

    with replaced(joining, "make_credential", unbound), pytest.raises(NOTICED):
        check_two_tpms_are_no_node(site, other, enrolled)
