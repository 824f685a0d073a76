"""CVE-2022-23949: an identifier with a line end in it forged lines of the log."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import log as agent_log
from authority import challenges, enrolling, standing
from authority.alerts import Origin, Record, Severity, format_record, raise_alert, rfc5424
from authority.alerts.destinations import Destination
from authority.alerts.pump import AlertPump
from authority.cli import output
from protocol.codec import ProtocolViolation
from protocol.messages import DeliveryAck, EnrolStart
from protocol.names import check_name
from protocol.problems import ErrorCode
from tests.authority.alerts.test_pump import Collector
from tests.authority.alerts.test_rfc5424 import GRAMMAR
from tests.authority.nodes import Machine, Site, sensor
from tests.security.broken import NOTICED, replaced

HOSTILE = [
    "n1\nforged",
    "n1\r\n<82>1 2025-11-24T16:00:00.250Z ta1 keyvigil-authority - node-released - forged",
    "n1\x1b[2K\x1b[1Aforged",
    "n1\x00\x07\x08\x7f",
    "n1\x85\u2028\u2029\u202eforged",
    'n1"] [keyvigil@32473 node="forged',
    "CEF:0|Keyvigil|authority|1|forged|forged|10|src=10.0.0.1",
    "n1|forged|10|msg=\\|",
]
LINE_BREAKERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
TEXT = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=60), st.binary(max_size=30).map(lambda raw: raw.decode("latin-1"))
)


def check_one_syslog_record(text: str) -> None:
    """Wherever it stands: host, kind, text, name and value of a parameter."""
    made = Record(1.0, Severity.ERROR, text, text, {text: text, "node": text})
    found = format_record(made, Origin(text, text, text))
    match = GRAMMAR.fullmatch(found)
    assert match is not None
    assert not LINE_BREAKERS.search(found.decode().replace("\ufeff", ""))
    header = found[: match.start(7)]
    assert header.count(b" ") == 6, "a field of the header holds a space"


def agent_line(line_format: str, text: str) -> str:
    stream = io.StringIO()
    before = agent_log.get_logger().handlers[:]
    try:
        agent_log.setup_logging("info", line_format, stream)
        agent_log.event(logging.INFO, text, node=text, reason=text)
    finally:
        agent_log.get_logger().handlers[:] = before
    return stream.getvalue()


def check_one_line_of_the_agent(line_format: str, text: str) -> None:
    line = agent_line(line_format, text)
    assert line.endswith("\n")
    assert not LINE_BREAKERS.search(line[:-1])
    assert line_format == "plain" or {"event", "node", "reason"} <= {*json.loads(line)}


def check_one_line_for_operators(text: str) -> None:
    assert not LINE_BREAKERS.search(output.printable(text))


@given(TEXT)
def test_any_text_is_one_syslog_record(text: str) -> None:
    check_one_syslog_record(text)


@pytest.mark.parametrize("line_format", ["plain", "json"])
@given(text=TEXT)
def test_any_text_is_one_line_of_the_agent_s_log(line_format: str, text: str) -> None:
    check_one_line_of_the_agent(line_format, text)


@given(TEXT)
def test_any_text_is_one_line_for_operators(text: str) -> None:
    check_one_line_for_operators(text)


def unchanged(text: object, *_: Any) -> str:
    return str(text)


@pytest.mark.parametrize(
    ("owner", "name", "check"),
    [
        (rfc5424, "neutralise", check_one_syslog_record),
        (rfc5424, "_header_field", check_one_syslog_record),
        (agent_log, "printable", lambda text: check_one_line_of_the_agent("plain", text)),
        (output, "printable", check_one_line_for_operators),
    ],
)
def test_text_that_is_let_through_is_noticed(owner: object, name: str, check: Callable[[str], None]) -> None:
    with replaced(owner, name, unchanged):
        for text in HOSTILE[:5]:
            with pytest.raises(NOTICED):
                check(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_has_such_characters(text: str) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        check_name("node", text)
    assert text not in str(caught.value)


def check_alerts_and_audit_hold(site: Site, node: Machine) -> None:
    """All that a node or an operator may send as free text, sent, and looked at where the authority writes it down."""
    for text in HOSTILE:
        assert site.refuses_join(node.request(site.token(), name=text)) is ErrorCode.MALFORMED
        bad = node.request(site.token(), enclave_kind=text, agent_version=text, devices=[sensor("x", driver=text)])
        site.refuses_join(bad)
        wrong = EnrolStart(admin=text, ticket=f"kvt1.{'0' * 16}.{'A' * 43}", pin=text)
        site.refuses(enrolling.start_enrolment, node.node_id, wrong)
        site.refuses(challenges.acknowledge, node.node_id, 1, DeliveryAck(installed=False, sinks={}, error=text))
        site.run(standing.isolate, node.node_id, text, text)
        site.run(standing.release, node.node_id, text, text)
        site.read(lambda conn, text=text: raise_alert(conn, "error", text, None, text, {text: text}, site.clock))
    check_written(site)


def check_written(site: Site) -> None:
    sink = Collector()
    to = Destination("a", sink)
    AlertPump(site.read, [to], Origin("ta1"), lambda: site.clock, pause_s=1).pump(to)
    assert sink.got
    for record in sink.got:
        assert GRAMMAR.fullmatch(record)
        assert not LINE_BREAKERS.search(record.decode().replace("\ufeff", ""))
    rows = site.read(lambda conn: conn.exec_driver_sql("SELECT kind, data FROM audit").all())
    assert all(not LINE_BREAKERS.search(kind + data) for kind, data in rows)
    assert "forged" in json.dumps([msgspec.json.decode(data) for _, data in rows]), "the control: it was written down"


def test_alerts_and_audit_hold_what_was_sent_harmlessly(site: Site, enrolled: Machine) -> None:
    check_alerts_and_audit_hold(site, enrolled)


def test_an_outbox_that_lets_text_through_is_noticed(site: Site, enrolled: Machine) -> None:
    with replaced(rfc5424, "neutralise", unchanged), pytest.raises(NOTICED):
        check_alerts_and_audit_hold(site, enrolled)
