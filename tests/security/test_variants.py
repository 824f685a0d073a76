"""CVE-2025-54998 and CVE-2025-55003 (OpenBao): spaces and other case made a used code new and a locked name free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from authority import challenges, enrolling
from authority.refusal import Refused
from authority.store import schema
from protocol.messages import BeginRequest, EnrolStart, EvidenceSubmission
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import activated, presentations
from tests.authority.nodes import Machine, Site
from tests.security.broken import NOTICED, replaced

Action = Callable[..., Any]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "space after": lambda text: text + " ",
    "space before": lambda text: " " + text,
    "newline": lambda text: text + "\n",
    "upper case": str.upper,
    "nul": lambda text: text + "\0",
    "wide": lambda text: text.translate({digit: digit + 0xFEE0 for digit in range(0x30, 0x3A)}),
}


def variants(text: str) -> Iterator[str]:
    yield from ({change(text) for change in SPELLINGS.values()} - {text})


def check_an_answer_is_taken_once(site: Site, node: Machine) -> None:
    """However a used token is spelt, it is another answer to a challenge that was answered."""
    activation = activated(site, node)
    used = node.evidence(node.claims(activation))
    node.submit(site, activation.challenge_id, used)
    submit = challenges.submit_evidence, node.node_id, node.certificate, activation.challenge_id
    for token in variants(used.token):
        again = EvidenceSubmission(token=token, quote=used.quote)
        assert site.refuses(*submit, again).code is ErrorCode.REPLAYED
    assert presentations(site) == ["accepted"]


def check_a_locked_record_has_one_name(site: Site, node: Machine, begin: Action) -> None:
    site.read(lambda conn: conn.exec_driver_sql(f"UPDATE profile SET locked_until={site.clock + 60}"))
    challenge_id = open_challenge(site, node)
    for record_id in (node.record_id, *variants(node.record_id)):
        with pytest.raises(Refused):
            site.run(begin, node.node_id, challenge_id, BeginRequest(record_id=record_id))


def open_challenge(site: Site, node: Machine) -> str:
    """Summoned before the lock."""
    row = schema.challenge
    return site.read(lambda conn: conn.scalar(select(row.c.id).where(row.c.node_id == node.node_id)))


def check_a_pin_is_what_was_given(site: Site, node: Machine, start: Action) -> None:
    """Other spellings of the PIN are wrong ones, and each costs a try."""
    ticket, pin = site.run(enrolling.create_ticket, "grace", node.node_id, 600)
    request = EnrolStart(admin="grace", ticket=ticket, pin=pin)
    for spelt in (pin + " ", " " + pin, pin + "\0", pin + "\n", SPELLINGS["wide"](pin)):
        wrong = msgspec.structs.replace(request, pin=spelt)
        assert site.refuses(start, node.node_id, wrong).code is ErrorCode.TICKET_INVALID
    for admin in ("GRACE", "grace ", "ｇｒａｃｅ"):
        assert site.refuses(start, node.node_id, msgspec.structs.replace(request, admin=admin))
    assert site.refuses(start, node.node_id, request).code is ErrorCode.TOO_MANY_TRIES


def normalising(action: Action, **fields: str) -> Action:
    """The flaw: what was asked is tidied up before it is looked for, after the lock was looked for."""

    def tidied(conn: Any, rt: Any, *arguments: Any, now: float) -> Any:
        *rest, request = arguments
        name = fields["field"]
        text = "".join(char for char in getattr(request, name) if char.isalnum()).lower()
        if name == "record_id" and text != getattr(request, name):
            conn.exec_driver_sql("UPDATE profile SET locked_until=NULL")
        return action(conn, rt, *rest, msgspec.structs.replace(request, **{name: text}), now=now)

    return tidied


def test_an_answer_is_taken_once(site: Site, enrolled: Machine) -> None:
    check_an_answer_is_taken_once(site, enrolled)


def test_answers_compared_after_tidying_are_noticed(site: Site, enrolled: Machine) -> None:
    genuine = challenges._fingerprint

    def tidied(kind: str, submission: Any) -> str:
        return genuine(kind, msgspec.structs.replace(submission, token=submission.token.strip(" \n\0")))

    with replaced(challenges, "_fingerprint", tidied), pytest.raises(NOTICED):
        check_an_answer_is_taken_once(site, enrolled)


def test_a_locked_record_has_one_name(site: Site, enrolled: Machine) -> None:
    site.summon(enrolled.node_id)
    check_a_locked_record_has_one_name(site, enrolled, challenges.begin)


def test_an_alias_of_a_locked_record_is_noticed(site: Site, enrolled: Machine) -> None:
    site.summon(enrolled.node_id)
    with pytest.raises(NOTICED):
        check_a_locked_record_has_one_name(site, enrolled, normalising(challenges.begin, field="record_id"))


def test_a_pin_is_what_was_given(site: Site, enrolled: Machine) -> None:
    check_a_pin_is_what_was_given(site, enrolled, enrolling.start_enrolment)


def test_a_pin_that_is_tidied_is_noticed(site: Site, enrolled: Machine) -> None:
    with pytest.raises(NOTICED):
        check_a_pin_is_what_was_given(site, enrolled, normalising(enrolling.start_enrolment, field="pin"))
