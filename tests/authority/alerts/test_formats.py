"""Alerts as SIEM systems read them: against the published schemas, and against text that an attacker chose."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from authority.alerts import Origin, Record, Severity
from authority.alerts.formats import AlertFormat, written
from authority.alerts.formats.ocsf import AUTHENTICATION, DETECTION_FINDING, ENTITY_MANAGEMENT, OCSF_VERSION

ORIGIN = Origin("ta1.example", procid="7")
KINDS = {
    "evidence-refused": AUTHENTICATION,
    "attestation-failed": AUTHENTICATION,
    "ticket-dead": AUTHENTICATION,
    "node-active": ENTITY_MANAGEMENT,
    "node-retired": ENTITY_MANAGEMENT,
    "tier-raised": ENTITY_MANAGEMENT,
    "brake-engaged": ENTITY_MANAGEMENT,
    "log-checkpoint": ENTITY_MANAGEMENT,
    "tier-low": DETECTION_FINDING,
    "node-isolated": DETECTION_FINDING,
    "node-hostile": DETECTION_FINDING,
    "authority-fault": DETECTION_FINDING,
}
NODE = {"id": 7, "kind": "k", "node": "node-a", "nodeId": "ab" * 32, "score": 412}
HOSTILE = [
    "line\nfeed\r\nand more",
    "end\x00of\x1b[31m line",
    "pipe|pipe\\|back\\",
    "key=value msg=forged cs1=x",
    '"]} "quoted" \\" {"a": 1}',
    "\u202eright to left\u2028separator\ufeff",
    "CEF:0|Other|Product|1|1|forged|10|",
    "<13>1 2026-01-01T00:00:00Z host app - - - forged",
    "\ud800 lone surrogate",
    "x" * 10_000,
]


def record(kind: str = "tier-low", text: str = "low tier", data: dict | None = None, severity: str = "error") -> Record:
    return Record(1_795_000_000.25, Severity(severity), kind, text, NODE if data is None else data)


def parsed(form: AlertFormat, one: Record) -> dict:
    return json.loads(written(form, one, ORIGIN, syslog=False))


@pytest.fixture(scope="module")
def validators() -> dict[int, Draft202012Validator]:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=OCSF_VERSION))
    names = {
        AUTHENTICATION: "authentication",
        ENTITY_MANAGEMENT: "entity_management",
        DETECTION_FINDING: "detection_finding",
    }
    return {number: Draft202012Validator(schema.get_class_schema(name, [])) for number, name in names.items()}


@pytest.mark.parametrize("severity", [*Severity])
@pytest.mark.parametrize("kind", KINDS)
def test_ocsf_events_are_of_the_published_schema(validators, kind: str, severity: str) -> None:
    for data in (NODE, {"id": 1, "kind": kind}, NODE | {"admin": "alice"}):
        event = parsed(AlertFormat.OCSF, record(kind, severity=severity, data=data))
        assert event["class_uid"] == KINDS[kind]
        validators[KINDS[kind]].validate(event)


def test_the_schema_refuses_what_is_no_event(validators) -> None:
    """The control: a field that is missing, and one of another class, do not pass."""
    event = parsed(AlertFormat.OCSF, record("tier-low"))
    for wrong in (event | {"class_uid": 3002}, {k: v for k, v in event.items() if k != "finding_info"}):
        assert [*validators[DETECTION_FINDING].iter_errors(wrong)]


def test_an_ecs_event() -> None:
    event = parsed(AlertFormat.ECS, record("evidence-refused"))
    assert event["@timestamp"] == "2026-11-18T13:46:40.250Z" or event["@timestamp"].endswith(".250Z")
    assert event["ecs"] == {"version": "8.11.0"}
    assert event["event"]["kind"] == "alert"
    assert event["event"]["category"] == ["authentication", "intrusion_detection"]
    assert event["event"]["severity"] == 73
    assert event["host"] == {"id": "ab" * 32, "name": "node-a"}
    assert event["keyvigil"] == {"score": "412"}


ECS_CATEGORIES = {"authentication", "configuration", "host", "iam", "intrusion_detection", "network", "process"}
ECS_TYPES = {"access", "change", "creation", "deletion", "denied", "error", "info"}


@pytest.mark.parametrize("kind", KINDS)
def test_ecs_categories_and_types_are_allowed_values(kind: str) -> None:
    event = parsed(AlertFormat.ECS, record(kind))["event"]
    assert {*event["category"]} <= ECS_CATEGORIES
    assert {*event["type"]} <= ECS_TYPES


def test_a_cef_record() -> None:
    text = written(
        AlertFormat.CEF, record("node-isolated", "cut off", severity="critical"), ORIGIN, syslog=False
    ).decode()
    header, fields = cef_parts(text)
    assert header[:3] == ["CEF:0", "Keyvigil", "Keyvigil Authority"]
    assert header[4:] == ["node-isolated", "Node isolated", "10"]
    assert fields["dhost"] == "node-a"
    assert fields["cs1Label"] == "nodeId"
    assert json.loads(fields["cs2"]) == {"score": "412"}
    assert fields["msg"] == "cut off"
    assert fields["rt"] == "1795000000250"


def cef_parts(text: str) -> tuple[list[str], dict[str, str]]:
    """A reader of CEF as receivers have: seven header fields, then keys up to an unescaped equals sign."""
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", text, maxsplit=7)
    assert len(parts) == 8
    pieces = re.split(r"(?:^|\s)(\w+)(?<!\\)=", parts[7])
    fields = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return parts[:7], {key: re.sub(r"\\([\\=])", r"\1", value) for key, value in fields.items()}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", [*AlertFormat])
@pytest.mark.parametrize("syslog", [True, False])
def test_no_field_breaks_out_of_its_place(form: AlertFormat, syslog: bool, text: str) -> None:
    data = {"id": 1, "kind": text, "node": text, "nodeId": text, text: text, "admin": text, "reason": text}
    out = written(form, record("evidence-refused", text, data), Origin(text, text, text), syslog=syslog)
    assert not re.search(rb"[\x00-\x1f\x7f]", out)
    decoded = out.decode()
    assert not re.search("[\u2028-\u202e\u2066-\u2069]", decoded)
    if syslog:
        assert re.match(r"<8\d>1 \S+ \S+ \S+ \S+ \S+ (-|\[)", decoded)
    if form is AlertFormat.CEF:
        body = decoded[decoded.index("CEF:0|Keyvigil") :] if syslog else decoded
        header, fields = cef_parts(body)
        assert header[4:6] == ["evidence-refused", "Evidence refused"]
        assert {*fields} == {"rt", "externalId", "cat", "dvchost", "dhost", "cs1", "cs1Label", "cs2", "cs2Label", "msg"}
    if form in {AlertFormat.ECS, AlertFormat.OCSF} and not syslog:
        assert isinstance(json.loads(decoded), dict)
