"""CVE-2026-39388 (OpenBao): a lease was renewed with another certificate that was valid too."""

from __future__ import annotations

import msgspec
import pytest

from authority import joining
from protocol.digests import renew_digest
from protocol.messages import NonceRequest
from protocol.problems import ErrorCode
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, passes, replaced


def check_a_renewal_is_of_the_same_machine(site: Site, node: Machine, foreign: Machine) -> None:
    """The other node is registered and sound, and wants to be this one."""
    before = site.node(node.node_id).certificate_sha256
    nonce = site.run(joining.issue_nonce, NonceRequest(node_id=node.node_id)).nonce
    quote = foreign.quote(renew_digest(node.node_id, nonce, foreign.csr()))
    forged = msgspec.structs.replace(foreign.renewal(site), node_id=node.node_id, nonce=nonce, quote=quote)
    refused = site.refuses(joining.renew, site.ca, forged)
    assert refused.code is ErrorCode.ATTESTATION_REJECTED
    assert site.node(node.node_id).certificate_sha256 == before


def check_a_renewal_is_of_the_same_key(site: Site, node: Machine, foreign: Machine) -> None:
    """A genuine quote does not carry another key's request for a certificate."""
    genuine = node.renewal(site)
    forged = msgspec.structs.replace(genuine, csr=foreign.csr())
    assert site.refuses(joining.renew, site.ca, forged).code is ErrorCode.ATTESTATION_REJECTED


@pytest.fixture
def joined(site: Site, other: Machine) -> Machine:
    other.join(site)
    return other


@pytest.mark.parametrize("check", [check_a_renewal_is_of_the_same_machine, check_a_renewal_is_of_the_same_key])
def test_a_renewal_is_of_the_same_machine_and_key(site: Site, enrolled: Machine, joined: Machine, check) -> None:
    check(site, enrolled, joined)


@pytest.mark.parametrize("check", [check_a_renewal_is_of_the_same_machine, check_a_renewal_is_of_the_same_key])
def test_a_renewal_by_anybody_is_noticed(site: Site, enrolled: Machine, joined: Machine, check) -> None:
    with replaced(joining, "check_quote", passes), pytest.raises(NOTICED):
        check(site, enrolled, joined)
