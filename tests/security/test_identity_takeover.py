"""CVE-2025-13609: whoever knew a node's identifier could register it again with a TPM of their own."""

from __future__ import annotations

import pytest

from authority import joining
from protocol.problems import ErrorCode
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, passes, replaced


def check_a_name_stays_with_its_tpm(site: Site, owner: Machine, thief: Machine) -> None:
    before = site.node(owner.node_id)
    thief.name = owner.name
    assert site.refuses_join(thief.request(site.token(owner.name))) is ErrorCode.NAME_TAKEN
    assert site.node(owner.node_id) == before
    assert len(site.audit("re-registration-refused")) == 1
    assert "re-registration-refused" in site.alerts()


def check_a_race_for_a_name_has_one_winner(site: Site, first: Machine, second: Machine) -> None:
    """Both began while the name was free (the fix for the CVE left this race at first)."""
    name, second.name = first.name, first.name
    site.set_node(first.node_id, name="elsewhere")
    request = second.request(site.token(name))
    attempt = site.start_join(request)
    site.set_node(first.node_id, name=name)
    proof = second.prove(attempt, request.csr)
    refused = site.refuses(joining.finish_join, site.ca, attempt.join_id, proof)
    assert refused.code is ErrorCode.NAME_TAKEN


def check_a_tpm_keeps_its_name(site: Site, owner: Machine) -> None:
    owner.name = "alias"
    assert site.refuses_join(owner.request(site.token("alias"))) is ErrorCode.CONFLICT


def test_a_name_stays_with_its_tpm(site: Site, enrolled: Machine, other: Machine) -> None:
    check_a_name_stays_with_its_tpm(site, enrolled, other)


def test_a_race_for_a_name_has_one_winner(site: Site, enrolled: Machine, other: Machine) -> None:
    check_a_race_for_a_name_has_one_winner(site, enrolled, other)


def test_a_tpm_keeps_its_name(site: Site, enrolled: Machine) -> None:
    check_a_tpm_keeps_its_name(site, enrolled)


def test_an_authority_that_lets_names_move_is_noticed(site: Site, enrolled: Machine, other: Machine) -> None:
    with replaced(joining, "check_identity", passes):
        with pytest.raises(NOTICED):
            check_a_name_stays_with_its_tpm(site, enrolled, other)
        with pytest.raises(NOTICED):
            check_a_tpm_keeps_its_name(site, enrolled)


def test_the_database_holds_where_the_check_does_not(site: Site, enrolled: Machine, other: Machine) -> None:
    """Names are unique in the schema too: without the check the race ends in an error, not in a takeover."""
    with replaced(joining, "check_identity", passes), pytest.raises(Exception, match=r"(?i)unique .*node[._]name"):
        check_a_race_for_a_name_has_one_winner(site, enrolled, other)
    assert site.node(enrolled.node_id).name == enrolled.name
