"""Subscribers: each is sent every result once, signed; what is away is tried again, and bounded; all is counted."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from authority import results
from authority.alerts import SinkError
from authority.config import AuthorityConfig, ConfigError, Listener, Results, ResultSubscriber, Site, load_site, render
from authority.health import checks
from authority.results import QUEUE, Cause, ResultPump, Subscriber
from authority.store import schema
from tests.authority.alerts.receivers import Hook, TestCa
from tests.authority.alerts.test_pump import Collector
from tests.authority.challenges.ear_form import verified
from tests.authority.planes.operator_site import OperatorSite, open_operator_site
from tests.authority.planes.test_open_api import add_node

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OperatorSite, str]]:
    made: list[Subscriber] = []
    site = open_operator_site(tmp_path_factory.mktemp("results"), subscribers=lambda: made)
    site.subscribers = made  # type: ignore[attr-defined]
    yield site, add_node(site, "n1")
    site.store.close()


@pytest.fixture
def site(house: tuple[OperatorSite, str]) -> OperatorSite:
    for table in (schema.attestation_result, schema.result_subscriber):
        house[0].store.run(lambda conn, table=table: conn.execute(table.delete()) and None)
    return house[0]


@pytest.fixture
def publish(site: OperatorSite, house: tuple[OperatorSite, str]) -> Any:
    def publish_one() -> None:
        at = site.clock[0]
        site.store.run(lambda conn: results.publish(conn, site.runtime, house[1], Cause.STANDING, at))

    return publish_one


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[tuple[Hook, TestCa]]:
    ca = TestCa(tmp_path, "ours")
    made = Hook(ca.issue("hook.example"))
    yield made, ca
    made.close()


def pump_to(site: OperatorSite, *to: Subscriber, generation: int = 1) -> ResultPump:
    site.subscribers[:] = to  # type: ignore[attr-defined]
    made = ResultPump(site.store.run, to, generation, lambda: site.clock[0], pause_s=0.01)
    made.begin()
    return made


def configured(tmp_path: Path, **subscriber: Any) -> Site:
    secret = tmp_path / "nac.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    chosen = {"name": "nac", "address": "https://127.0.0.1:1/", "secret_file": "nac.secret", **subscriber}
    place = Listener("127.0.0.1", 1)
    to = Results(subscribers=[ResultSubscriber(**chosen)])
    return Site(tmp_path, AuthorityConfig(["a"], place, place, results=to))


def counts(site: OperatorSite) -> dict[str, Any]:
    found: dict[str, Any] = site.ask("GET", "/v1/result-subscribers", "viewer").json()[0]
    return found


def test_a_result_is_sent_signed_over_verified_tls(
    site: OperatorSite, publish: Any, hook: tuple[Hook, TestCa], tmp_path: Path
) -> None:
    server, ca = hook
    (to,) = results.subscribers(configured(tmp_path, address=server.url, ca=str(ca.pem)))
    pump = pump_to(site, to)
    publish()
    assert (pump.pump(to), pump.pump(to)) == (1, 0)
    ((headers, body),) = server.got
    message = Webhook(SECRET).verify(body, headers)
    assert message["type"] == "attestation-result" and message["data"]["node"] == "n1"
    assert verified(message["data"]["ear"], site.ask("GET", "/v1/jwks").json())["sub"] == message["data"]["node_id"]
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET[:-8] + "AAAAAAA=").verify(body, headers)
    assert (counts(site)["sent"], counts(site)["waiting"], counts(site)["last_error"]) == (1, 0, "")
    (stranger,) = results.subscribers(configured(tmp_path, address=server.url, name="other"))
    with pytest.raises(SinkError, match="certificate"):
        stranger.sink.send(b"{}", "k")


def test_what_is_refused_is_counted_and_sent_again_under_the_same_key(site: OperatorSite, publish: Any) -> None:
    sink = Collector()
    pump = pump_to(site, to := Subscriber("nac", sink, None))
    publish()
    publish()
    sink.refuses = True
    for _ in range(3):
        with pytest.raises(SinkError):
            pump.pump(to)
    assert (counts(site)["failed"], counts(site)["waiting"], counts(site)["last_error"]) == (3, 2, "away")
    sink.refuses = False
    assert pump.pump(to) == 2
    ids = [json.loads(each)["data"]["id"] for each in sink.got]
    assert sink.keys == [f"attestation-result-1-{number}" for number in ids] and ids[1] == ids[0] + 1


def test_after_a_restore_the_same_id_is_another_key(site: OperatorSite, publish: Any) -> None:
    sink = Collector()
    pump = pump_to(site, to := Subscriber("nac", sink, None), generation=2)
    publish()
    pump.pump(to)
    assert sink.keys[0].startswith("attestation-result-2-")


def test_a_new_subscriber_begins_with_what_is_issued_then(site: OperatorSite, publish: Any) -> None:
    old, new = (Subscriber(name, Collector(name), None) for name in ("old", "new"))
    pump_to(site, old)
    publish()
    pump = pump_to(site, old, new)
    assert (pump.pump(old), pump.pump(new)) == (1, 0)
    publish()
    assert (pump.pump(old), pump.pump(new)) == (1, 1)


def test_one_that_is_away_delays_nobody_else(site: OperatorSite, publish: Any) -> None:
    away, well = Subscriber("away", Collector("away"), None), Subscriber("well", Collector("well"), None)
    away.sink.refuses = True  # type: ignore[attr-defined]
    pump = pump_to(site, away, well)
    publish()
    with pytest.raises(SinkError):
        pump.pump(away)
    assert pump.pump(well) == 1


def test_of_too_many_the_oldest_are_given_up_and_counted(site: OperatorSite, publish: Any) -> None:
    sink = Collector()
    pump = pump_to(site, to := Subscriber("nac", sink, 2))
    for _ in range(5):
        publish()
    assert pump.pump(to) == 2
    assert (counts(site)["dropped"], counts(site)["sent"], counts(site)["waiting"]) == (3, 2, 0)


def test_what_was_kept_too_long_is_counted_as_never_sent(site: OperatorSite, publish: Any) -> None:
    sink = Collector()
    pump = pump_to(site, to := Subscriber("nac", sink, None))
    publish()
    pump.pump(to)
    publish()
    site.clock[0] += site.runtime.results_kept_s + 1
    publish()
    site.store.run(lambda conn: results.forget(conn, site.runtime, site.clock[0]))
    assert (counts(site)["dropped"], pump.pump(to), counts(site)["sent"]) == (1, 1, 2)


def test_a_subscriber_is_tried_by_hand(site: OperatorSite) -> None:
    sink = Collector()
    pump_to(site, Subscriber("nac", sink, None))
    tried = partial(site.ask, "POST", "/v1/result-subscribers/test")
    assert tried(json={"name": "nac"}).json()["ok"] is True
    assert json.loads(sink.got[0])["type"] == "attestation-result-test" and site.audits("result-test") == ["admin"]
    sink.refuses = True
    assert tried(json={"name": "nac"}).json()["error"] == "away"
    assert tried(json={"name": "none"}).status_code == 404 and tried("viewer", json={"name": "nac"}).status_code == 403


def test_a_stuck_subscriber_is_red(site: OperatorSite, publish: Any) -> None:
    pump_to(site, Subscriber("nac", Collector(), None))
    publish()

    def found() -> list[str]:
        return site.store.run(lambda conn: [each.reason for each in checks.probe(conn, [], site.clock[0], ["nac"])])

    assert found() == []
    site.clock[0] += 301
    assert found() == ["1 attestation results wait for nac"]


def test_another_replica_s_subscriber_is_left_alone(site: OperatorSite, publish: Any) -> None:
    to = Subscriber("nac", Collector(), None)
    pump_to(site, to)
    publish()
    idle = ResultPump(site.store.run, [to], 1, lambda: site.clock[0], pause_s=1, ours=lambda _conn, _name: False)
    busy = ResultPump(site.store.run, [to], 1, lambda: site.clock[0], pause_s=1)
    assert (idle.pump(to), busy.pump(to)) == (0, 1)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = configured(tmp_path, ca="ca.pem", backlog=7).config
    (tmp_path / "authority.toml").write_text(render(written))
    assert load_site(tmp_path).config == written


WRONG: dict[str, dict[str, Any]] = {
    "plain HTTP elsewhere": {"address": "http://nac.example/"},
    "no web address": {"address": "tls:nac.example:6514"},
    "no host": {"address": "https:///path"},
}


@pytest.mark.parametrize("flaw", WRONG)
def test_a_subscriber_that_cannot_be_sent_to_is_refused(tmp_path: Path, flaw: str) -> None:
    with pytest.raises(ConfigError, match="subscriber nac"):
        results.subscribers(configured(tmp_path, **WRONG[flaw]))
    assert results.subscribers(configured(tmp_path))  # the control


def test_two_of_one_name_and_results_that_are_not_kept_are_refused(tmp_path: Path) -> None:
    (one,) = (place := configured(tmp_path).config).results.subscribers
    for chosen, cause in ((Results(86400.0, [one, one]), "one name"), (Results(0.0, [one]), "kept_s is 0")):
        site = Site(tmp_path, AuthorityConfig(["a"], place.node_plane, place.operator_plane, results=chosen))
        with pytest.raises(ConfigError, match=cause):
            results.subscribers(site)


def test_the_ledger_of_results_is_not_that_of_alerts() -> None:
    assert (QUEUE.items.name, QUEUE.receivers.name) == ("attestation_result", "result_subscriber")
