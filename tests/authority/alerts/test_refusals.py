"""An alert that a destination refuses for what it is holds up the others for minutes, and is not lost."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from authority.alerts import MessageRefused, SinkError, ledger, refusals
from authority.alerts.journald import JournaldSink
from authority.alerts.refusals import TRIES, WITHIN_S
from authority.alerts.sinks import UdpSink, UnixSink
from authority.alerts.webhook import OF_THE_MESSAGE, WebhookSink
from authority.health.checks import sinks
from authority.metrics import names, take_snapshot
from authority.refusal import Refused
from authority.store import schema
from tests.authority.alerts.test_pump import Collector, Outbox, Pump
from tests.authority.world import open_world


class Picky(Collector):
    """Refuses what `minds` says, by what `refuses_by` is."""

    minds: Callable[[bytes], bool] = staticmethod(lambda _: False)
    refuses_by: type[SinkError] = MessageRefused

    def send(self, record: bytes, key: str = "") -> None:
        if self.minds(record):
            raise self.refuses_by(f"{self.name}: answered 413")
        super().send(record, key)


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with open_world() as world:
        yield Outbox(world)


@pytest.fixture
def sink() -> Picky:
    made = Picky("siem")
    made.minds = lambda record: b"poison" in record
    return made


def tried(outbox: Outbox, pump: Pump, sink: Picky, times: int, pause_s: float) -> int:
    """How often it was refused, of so many tries with so long in between."""
    refused = 0
    for _ in range(times):
        outbox.world.clock += pause_s
        try:
            pump.pump(sink)
        except SinkError:
            refused += 1
    return refused


def texts(sink: Picky) -> list[str]:
    return [record.decode().rsplit("\ufeff")[-1] for record in sink.got]


def aside(outbox: Outbox) -> list[tuple[int, bool]]:
    return [(each["alert_id"], each["set_aside_at"] is not None) for each in outbox.run(refusals.listing)]


def flowing(outbox: Outbox, sink: Picky) -> Pump:
    """One that is poison between two that are not, tried until it is set aside."""
    pump = outbox.pump(sink)
    for text in ("one", "poison", "three"):
        outbox.alert(text)
    assert tried(outbox, pump, sink, TRIES, WITHIN_S / (TRIES - 1)) == TRIES - 1
    return pump


def test_what_is_refused_for_what_it_is_is_set_aside_and_the_others_flow(outbox: Outbox, sink: Picky) -> None:
    flowing(outbox, sink)
    assert [text[-5:] for text in texts(sink)[:2]] == ["one", "three"]
    assert aside(outbox) == [(2, True)]
    (held,) = outbox.run(refusals.listing)
    assert (held["destination"], held["cause"], held["tries"]) == ("siem", "siem: answered 413", TRIES)
    assert "alert-set-aside" in [kind for _, kind in outbox.world.alerts()]
    assert outbox.rows()[1][0] is None and outbox.rows()[2][0] is not None  # not every destination has it
    assert "alert-set-aside" in outbox.world.audit_kinds()


def test_a_destination_that_refuses_everything_is_seen_by_whoever_scrapes(outbox: Outbox, sink: Picky) -> None:
    """What is set aside waits no longer, so that nothing but this gauge tells of it."""
    flowing(outbox, sink)
    snapshot = take_snapshot(outbox.world.conn, ("siem", "other"), outbox.world.clock)
    assert snapshot.values[names.ALERTS_SET_ASIDE] == [(("siem",), 1.0), (("other",), 0.0)]


def test_it_is_tried_for_a_while_first_however_often(outbox: Outbox, sink: Picky) -> None:
    pump = outbox.pump(sink)
    outbox.alert("poison")
    outbox.alert("two")
    assert tried(outbox, pump, sink, 5 * TRIES, WITHIN_S / (5 * TRIES)) == 5 * TRIES
    assert aside(outbox) == [(1, False)] and texts(sink) == []
    sink.minds = lambda _: False
    assert pump.pump(sink) == 2 and aside(outbox) == []


def test_and_often_however_long_it_takes(outbox: Outbox, sink: Picky) -> None:
    pump = outbox.pump(sink)
    outbox.alert("poison")
    assert tried(outbox, pump, sink, TRIES - 1, WITHIN_S) == TRIES - 1
    assert aside(outbox) == [(1, False)]


def test_a_destination_that_is_away_sets_nothing_aside(outbox: Outbox, sink: Picky) -> None:
    sink.refuses_by, sink.minds = SinkError, lambda _: True
    pump = outbox.pump(sink)
    outbox.alert("one")
    assert tried(outbox, pump, sink, 4 * TRIES, WITHIN_S) == 4 * TRIES
    assert aside(outbox) == []
    sink.minds = lambda _: False
    assert pump.pump(sink) == 1


def test_what_cannot_be_written_is_set_aside_too(outbox: Outbox, sink: Picky) -> None:
    pump = outbox.pump(sink)
    for text in ("one", "two", "three"):
        outbox.alert(text)
    row = schema.alert
    outbox.run(lambda conn: conn.execute(update(row).where(row.c.id == 2).values(data="no JSON")))
    tried(outbox, pump, sink, TRIES, WITHIN_S / (TRIES - 1))
    assert aside(outbox) == [(2, True)] and sink.keys[:2] == ["alert-1", "alert-3"]


def test_a_receiver_that_refuses_everything_begets_no_end_of_alerts(outbox: Outbox, sink: Picky) -> None:
    sink.minds = lambda _: True
    pump = outbox.pump(sink)
    outbox.alert("one")
    tried(outbox, pump, sink, 6 * TRIES, WITHIN_S / (TRIES - 1))
    assert [kind for _, kind in outbox.world.alerts()] == ["tier-low", "alert-set-aside"]
    assert aside(outbox) == [(1, True), (2, True)]


def test_other_destinations_have_it(outbox: Outbox, sink: Picky) -> None:
    other = Picky("other")
    pump = outbox.pump(sink, other)
    outbox.alert("poison")
    tried(outbox, pump, sink, TRIES, WITHIN_S / (TRIES - 1))
    assert pump.pump(other) == 2 and aside(outbox) == [(1, True)]


def test_a_restart_goes_on_counting_and_does_not_try_again_what_is_set_aside(outbox: Outbox, sink: Picky) -> None:
    outbox.alert("poison")
    for _ in range(TRIES):
        tried(outbox, outbox.pump(sink), sink, 1, WITHIN_S / (TRIES - 1))
    assert aside(outbox) == [(1, True)]
    sink.minds = lambda _: False
    outbox.pump(sink).pump(sink)
    assert not any("poison" in text for text in texts(sink))


def test_health_is_red_until_somebody_decides(outbox: Outbox, sink: Picky) -> None:
    flowing(outbox, sink)
    now = outbox.world.clock

    def found() -> list[str]:
        return [each.reason for each in outbox.run(lambda conn: sinks(conn, ["siem"], now))]

    assert found() == ["1 alerts are set aside at siem, which refuses them"]
    outbox.run(lambda conn: refusals.discard(conn, "siem", 2, "ann", "of no use", now))
    assert found() == []
    entry = outbox.run(lambda conn: ledger.entry(conn, "siem"))
    assert entry is not None and entry.dropped == 1


@pytest.mark.parametrize("decide", [refusals.discard, refusals.taken])
def test_nothing_is_decided_twice_or_about_what_is_still_tried(outbox: Outbox, sink: Picky, decide: Any) -> None:
    flowing(outbox, sink)
    outbox.run(lambda conn: decide(conn, "siem", 2, "ann", "why", 0.0))
    outbox.alert("poison again")
    with pytest.raises(SinkError):
        outbox.pump(sink).pump(sink)
    (still,) = outbox.run(refusals.listing)
    for destination, number in (("siem", 2), ("siem", still["alert_id"]), ("other", 2)):
        with pytest.raises(Refused) as refused:
            outbox.run(lambda conn, to=destination, it=number: decide(conn, to, it, "ann", "why", 0.0))
        assert refused.value.status == 404


def test_what_is_taken_in_the_end_is_delivered_everywhere(outbox: Outbox, sink: Picky) -> None:
    flowing(outbox, sink)
    outbox.run(lambda conn: refusals.taken(conn, "siem", 2, "ann", "mended", 7.0))
    row = schema.alert
    assert outbox.run(lambda conn: conn.scalar(select(row.c.delivered_at).where(row.c.id == 2))) == 7.0
    assert outbox.world.audit_kinds()[-1] == "alert-sent-again"


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [400, 413, 415, 422, 401, 403, 404, 408, 429, 500, 503, 301])
def test_a_webhook_says_whether_it_is_the_message(status: int, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + "QUFB" * 8)
    secret.chmod(0o600)
    with answering(status) as url, pytest.raises(SinkError) as refused:
        WebhookSink(url, secret).send(b"{}", "alert-1")
    assert isinstance(refused.value, MessageRefused) == (status in OF_THE_MESSAGE) == (status in {400, 413, 415, 422})


def test_a_datagram_that_is_too_long_is_refused_for_that(tmp_path: Path) -> None:
    with pytest.raises(MessageRefused):
        UdpSink("127.0.0.1", 9).send(b"x" * 70_000)
    for sink in (UnixSink(str(tmp_path / "none")), JournaldSink(str(tmp_path / "none"))):
        with pytest.raises(SinkError) as refused:
            sink.send(b"x" * 70_000)
        assert not isinstance(refused.value, MessageRefused)  # nobody is there
