"""CVE-2025-54999 (Vault): the time of an answer told which users exist. Here neither its time nor its words do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from authority import enrolling, joining
from protocol.messages import EnrolStart, NonceRequest
from protocol.tokens import parse_ticket
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, replaced


def work_of(site: Site, node: Machine, request: EnrolStart, start: Callable[..., Any]) -> tuple[str, int]:
    """What a refusal says, and how many PIN hashes it took: one costs more time than all the rest together."""
    hashed = 0
    genuine = enrolling._pin_hash

    def counted(pin: str, salt: bytes) -> bytes:
        nonlocal hashed
        hashed += 1
        return genuine(pin, salt)

    with replaced(enrolling, "_pin_hash", counted):
        refused = site.refuses(start, node.node_id, request)
    return f"{refused.code} {refused.status} {refused.detail} {refused.remedy}", hashed


def check_strangers_learn_nothing(site: Site, node: Machine, start: Callable[..., Any]) -> None:
    """Whoever does not hold the ticket gets one answer, whether ticket, administrator and node exist or not."""
    text, pin = site.run(enrolling.create_ticket, "grace", node.node_id, 600)
    guessed = replace(parse_ticket(text), secret=bytes(32))
    attempts = [
        EnrolStart(admin=admin, ticket=ticket.format(), pin=given)
        for admin in ("grace", "nobody")
        for ticket in (guessed, replace(guessed, ticket_id="0" * 16))
        for given in (pin, "00000000")
    ]
    assert len({work_of(site, node, each, start) for each in attempts}) == 1


def check_nonces_tell_nothing(site: Site, node: Machine, issue: Callable[..., Any]) -> None:
    """A nonce for a renewal is given for any id."""
    given = [site.run(issue, NonceRequest(node_id=each)) for each in (node.node_id, "0" * 64, "")]
    assert len({(len(each.nonce), each.expires_at, tuple(each.pcr_selection)) for each in given}) == 1


def check_renewals_tell_nothing(site: Site, node: Machine) -> None:
    """A renewal for a node that does not exist is refused as one that the node did not quote."""
    genuine = node.renewal(site, quote=node.quote(bytes(32)))
    said = {str(site.refuses(joining.renew, site.ca, genuine))}
    node.node_id = "0" * 64
    said.add(str(site.refuses(joining.renew, site.ca, node.renewal(site))))
    assert len(said) == 1


def test_strangers_learn_nothing_of_tickets(site: Site, enrolled: Machine) -> None:
    check_strangers_learn_nothing(site, enrolled, enrolling.start_enrolment)


def test_work_done_for_known_administrators_only_is_noticed(site: Site, enrolled: Machine) -> None:
    def eager(conn: Any, rt: Any, node_id: str, request: EnrolStart, now: float) -> Any:
        if request.admin == "grace":
            enrolling._pin_hash(request.pin, bytes(16))
        return enrolling.start_enrolment(conn, rt, node_id, request, now)

    with pytest.raises(NOTICED):
        check_strangers_learn_nothing(site, enrolled, eager)


def test_nonces_and_renewals_tell_nothing_of_nodes(site: Site, enrolled: Machine) -> None:
    check_nonces_tell_nothing(site, enrolled, joining.issue_nonce)
    check_renewals_tell_nothing(site, enrolled)


def test_nonces_for_known_nodes_only_are_noticed(site: Site, enrolled: Machine) -> None:
    def choosy(conn: Any, rt: Any, request: NonceRequest, now: float) -> Any:
        known = site.rt.policy if request.node_id == enrolled.node_id else None
        given = joining.issue_nonce(conn, rt, request, now)
        return given if known else type(given)(nonce=b"", pcr_selection=[], expires_at=now)

    with pytest.raises(NOTICED):
        check_nonces_tell_nothing(site, enrolled, choosy)
