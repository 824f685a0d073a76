"""`keyvigil-authority alert …` against an operator plane."""

from __future__ import annotations

from authority.alerts import raise_alert
from tests.authority.cli.conftest import Run, Serving


def raised(serving: Serving, severity: str, text: str) -> None:
    store = serving.authority.store
    store.run(lambda conn: raise_alert(conn, severity, "tier-low", None, text, {}, 100.0))


def test_alerts_are_listed_by_severity_and_until_somebody_looked(serving: Serving, run: Run) -> None:
    raised(serving, "error", "one")
    raised(serving, "notice", "two")
    listed = run("alert", "list", "--severity", "error", "--json", *serving.options).value
    assert [each["text"] for each in listed] == ["one"]
    done = run("alert", "ack", "1", "--reason", "a drill", *serving.options)
    assert (done.status, done.out) == (0, "alert 1: acknowledged\n")
    listed = run("alert", "list", "--open", "--json", *serving.options).value
    assert [each["text"] for each in listed] == ["two"]
    assert "a drill" in str(run("alert", "list", "--json", *serving.options).value)
    for alert, cause in (("1", "before"), ("9", "no alert 9")):
        refused = run("alert", "ack", alert, "--reason", "x", *serving.options)
        assert refused.status == 1
        assert cause in refused.err


def test_destinations_are_shown_and_tried(serving: Serving, run: Run) -> None:
    raised(serving, "error", "one")
    (shown,) = run("alert", "sinks", "--json", *serving.options).value
    assert shown["waiting"] == 1
    assert (shown["sent"], shown["durable"], shown["format"]) == (0, True, "rfc5424")
    assert shown["stuck"]  # nobody pumps here, and the alert is of long ago
    name = shown["name"]
    assert run("alert", "test", name, *serving.options).status == 0
    assert b"alert-test" in (serving.state / "alerts.log").read_bytes()
    (serving.state / "alerts.log").unlink()
    (serving.state / "alerts.log").mkdir()
    refused = run("alert", "test", name, *serving.options)
    assert refused.status == 1
    assert "did not take" in refused.err
    unknown = run("alert", "test", "nobody", *serving.options)
    assert unknown.status == 1
    assert "nobody" in unknown.err
