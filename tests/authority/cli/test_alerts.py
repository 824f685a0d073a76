"""`keyvigil-authority alert …` against an operator plane."""

from __future__ import annotations

from sqlalchemy import Connection, select

from authority.alerts import raise_alert, refusals
from authority.alerts.refusals import TRIES, WITHIN_S
from authority.store import schema
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


def set_aside(serving: Serving, destination: str) -> None:
    def refused(conn: Connection) -> None:
        for attempt in range(TRIES):
            refusals.note(conn, destination, 1, "answered 413", attempt * WITHIN_S)

    serving.authority.store.run(refused)


def test_what_is_set_aside_is_sent_again_or_let_go(serving: Serving, run: Run) -> None:
    assert "no destination refuses" in run("alert", "stuck", *serving.options).out
    raised(serving, "error", "too much")
    (shown,) = run("alert", "sinks", "--json", *serving.options).value
    name, log = shown["name"], serving.state / "alerts.log"
    set_aside(serving, name)
    (held,) = run("alert", "stuck", "--json", *serving.options).value
    assert (held["alert_id"], held["cause"], held["tries"]) == (1, "answered 413", TRIES) and held["set_aside_at"]
    assert run("alert", "sinks", "--json", *serving.options).value[0]["set_aside"] == 1
    again = ("alert", "retry", name, "1", "--reason", "mended", *serving.options)
    log.mkdir()
    refused = run(*again)
    assert refused.status == 1 and "does not take it" in refused.err
    log.rmdir()
    assert run(*again).status == 0 and b"too much" in log.read_bytes()
    assert run("alert", "stuck", "--json", *serving.options).value == []
    assert run(*again).status == 1
    set_aside(serving, name)
    let_go = ("alert", "discard", name, "1", "--reason", "of no use", *serving.options)
    assert (run(*let_go).status, run(*let_go).status) == (0, 1)
    set_aside(serving, "gone")
    missing = run("alert", "retry", "gone", "1", "--reason", "x", *serving.options)
    assert missing.status == 1 and "any more" in missing.err
    row = schema.audit
    mine = select(row.c.kind).where(row.c.actor == "first-operator").order_by(row.c.seq)
    kinds = serving.authority.store.run(lambda conn: [*conn.scalars(mine)])
    assert [kind for kind in kinds if kind.startswith("alert")] == ["alert-sent-again", "alert-discarded"]
