"""Suricata's alerts: recorded lines, hostile ones, a file that rotates, and the command against an authority."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority.eve import LONGEST_LINE, EveRules, EveUnreadable, read_alert
from authority.eve_file import LineFile, Position
from protocol.signals import Severity

RECORDED = (Path(__file__).parent / "recorded.jsonl").read_bytes().splitlines()
RULES = EveRules()


def alert(**changes: Any) -> bytes:
    return json.dumps(json.loads(RECORDED[0]) | changes).encode()


def test_recorded_alerts_become_signals_and_other_events_none() -> None:
    found = [read_alert(line, RULES) for line in RECORDED]
    assert [each and (each.node, each.kind, each.severity, each.confidence) for each in found] == [
        ("10.7.0.3", "suricata:attempted-information-leak", Severity.MEDIUM, 700),
        None,
        ("10.7.0.3", "suricata:a-network-trojan-was-detected", Severity.HIGH, 900),
        None,
        ("fd00:7::4", "suricata:misc-activity", Severity.LOW, 700),
    ]


def test_times_are_taken_with_their_zone() -> None:
    east, utc = (read_alert(RECORDED[index], RULES) for index in (2, 0))
    assert east and utc
    assert east.observed_at - utc.observed_at == pytest.approx(5.897462)


def test_the_attacker_is_who_the_rule_says_it_is() -> None:
    line = json.loads(RECORDED[2])
    del line["alert"]["source"]
    report = read_alert(json.dumps(line).encode(), RULES)
    assert report and report.node == "203.0.113.66"


def test_the_table_names_nodes_and_the_list_critical_signatures() -> None:
    rules = EveRules({"10.7.0.3": "node-c"}, frozenset({2001219}), 600.0)
    report = read_alert(RECORDED[0], rules)
    assert report and (report.node, report.severity, report.ttl) == ("node-c", Severity.CRITICAL, 600)


def test_the_same_line_is_the_same_signal_and_another_is_not() -> None:
    refs = [read_alert(each, RULES).ref for each in (alert(), alert(), alert(flow_id=1), alert(src_ip="10.7.0.4"))]
    assert refs[0] == refs[1]
    assert len({*refs}) == 3


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"[]",
        b'{"event_type": 3}',
        b"[" * 100_000,
        b'{"event_type": "alert"}',
        alert(src_ip=None),
        alert(src_ip="x" * 46),
        alert(timestamp="yesterday"),
        alert(timestamp="2026-11-27T09:12:44"),
        alert(alert={"signature_id": -1, "severity": 1}),
        alert(alert={"signature_id": 1, "severity": "1"}),
        alert(padding="x" * LONGEST_LINE),
    ],
)
def test_other_lines_are_refused_with_a_reason(line: bytes) -> None:
    with pytest.raises(EveUnreadable):
        read_alert(line, RULES)


keys = st.sampled_from(["category", "severity", "signature_id", "metadata", "gid"])


@given(st.dictionaries(keys, st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_whatever_an_alert_carries_it_is_a_signal_or_refused(changes: dict[str, Any]) -> None:
    inner = json.loads(RECORDED[0])["alert"] | changes
    try:
        report = read_alert(alert(alert=inner), RULES)
    except EveUnreadable:
        return
    assert report is not None
    assert report.kind.isprintable() and len(report.kind) <= 48


def read(source: LineFile) -> list[bytes]:
    return [*source.lines()]


def test_lines_are_given_once_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "eve.json"
    file.write_bytes(b"one\ntw")
    source = LineFile(file, 100)
    assert read(source) == [b"one"]
    with file.open("ab") as more:
        more.write(b"o\r\n\nthree\n")
    assert read(source) == [b"two", b"three"]
    assert read(source) == []


def test_a_renamed_file_is_read_to_its_end_before_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "eve.json"
    file.write_bytes(b"one\n")
    source = LineFile(file, 100)
    assert read(source) == [b"one"]
    with file.open("ab") as more:
        file.rename(tmp_path / "eve.json.1")
        more.write(b"two\n")
    assert read(source) == [b"two"]
    file.write_bytes(b"three\n")
    assert read(source) == [b"three"]


def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "eve.json"
    file.write_bytes(b"one\ntwo\n")
    source = LineFile(file, 100)
    read(source)
    os.truncate(file, 0)
    with file.open("ab") as more:
        more.write(b"new\n")
    assert read(source) == [b"new"]


def test_a_new_run_goes_on_where_the_last_one_stopped_even_after_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "eve.json"
    file.write_bytes(b"one\ntwo\nthr")
    first = LineFile(file, 100)
    kept = [(line, first.position) for line in first.lines()]
    assert read(LineFile(file, 100, kept[0][1])) == [b"two"]
    with file.open("ab") as more:
        more.write(b"ee\n")
    file.rename(tmp_path / "eve.json.1")
    file.write_bytes(b"four\n")
    assert read(LineFile(file, 100, kept[1][1])) == [b"three", b"four"]
    assert read(LineFile(file, 100, Position())) == [b"four"]


def test_a_long_line_is_cut_and_takes_no_room(tmp_path: Path) -> None:
    file = tmp_path / "eve.json"
    file.write_bytes(b"x" * 1_000_000 + b"\nshort\n")
    source = LineFile(file, 100)
    assert [len(line) for line in read(source)] == [101, 5]
    assert source.position.offset == file.stat().st_size


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    source = LineFile(tmp_path / "eve.json", 100)
    assert read(source) == []
    (tmp_path / "eve.json").write_bytes(b"one\n")
    assert read(source) == [b"one"]
