"""Deliveries as the node sees them: the newest of each network, until it is installed."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Row, select

from authority import challenges
from authority.keys import add_member, create_network, rotate_versions
from authority.store import schema
from protocol.levels import ResourceClass
from protocol.messages import DeliveryAck, DeliveryEvent, StatusEvent
from protocol.problems import ErrorCode
from tests.authority.challenges.answers import answered
from tests.authority.nodes import Machine, Site

INSTALLED = DeliveryAck(installed=True, sinks=["file"])
BROKEN = DeliveryAck(installed=False, sinks=[], error="disk full " * 100)


@pytest.fixture
def member(site: Site, enrolled: Machine) -> Machine:
    """A node in two networks, with a delivery of each, and a second one of the first."""
    answered(site, enrolled)
    for name in ("office", "plant"):
        site.run(create_network, name)
        site.run(add_member, name, enrolled.node_id, "10.0.0.1", ResourceClass.NORMAL)
    site.run(rotate_versions, "office", "operator")
    return enrolled


def sent(site: Site) -> dict[int, Row]:
    rows = site.read(lambda conn: conn.execute(select(schema.delivery)).all())
    return {row.number: row for row in rows}


def after(site: Site, node: Machine, number: int) -> list[int]:
    found = site.read(lambda conn: challenges.deliveries_after(conn, node.node_id, number))
    return [event.number for event in found]


def pushed(site: Site, node: Machine) -> list[int]:
    events = site.run(challenges.open_events, node.node_id)
    assert isinstance(events[0], StatusEvent)
    return [event.number for event in events if isinstance(event, DeliveryEvent)]


def acknowledge(site: Site, node: Machine, number: int, ack: DeliveryAck) -> None:
    site.run(challenges.acknowledge, node.node_id, number, ack)


def test_the_newest_delivery_of_each_network_is_told(site: Site, member: Machine):
    numbers = {number: row.network for number, row in sent(site).items()}
    newest = sorted(max(n for n, name in numbers.items() if name == wanted) for wanted in ("office", "plant"))
    assert len(numbers) > 2
    assert after(site, member, 0) == pushed(site, member) == newest
    assert after(site, member, newest[0]) == newest[1:]
    assert after(site, member, newest[1]) == []


def test_another_node_s_deliveries_are_not_told(site: Site, member: Machine, other: Machine):
    other.join(site)
    assert after(site, other, 0) == pushed(site, other) == []
    refused = site.refuses(challenges.acknowledge, other.node_id, after(site, member, 0)[0], INSTALLED)
    assert refused.code is ErrorCode.NOT_FOUND


def test_what_was_installed_is_not_pushed_again(site: Site, member: Machine):
    first, second = pushed(site, member)
    acknowledge(site, member, first, INSTALLED)
    assert pushed(site, member) == [second]
    assert sent(site)[first].acked_at == site.clock
    assert "delivery-failed" not in site.alerts()


def test_what_could_not_be_installed_is_an_alert_once_and_is_pushed_again(site: Site, member: Machine):
    first, second = pushed(site, member)
    for _ in range(3):
        acknowledge(site, member, first, BROKEN)
    assert site.alerts().count("delivery-failed") == 1
    assert pushed(site, member) == [first, second]
    data = site.read(
        lambda conn: conn.scalar(select(schema.alert.c.data).where(schema.alert.c.kind == "delivery-failed"))
    )
    assert len(json.loads(data)["error"]) == 200
    acknowledge(site, member, first, INSTALLED)
    assert pushed(site, member) == [second]


@pytest.mark.parametrize("number", [0, -1, 999, 2**63, 2**200])
def test_a_delivery_that_there_never_was_is_not_acknowledged(site: Site, member: Machine, number: int):
    refused = site.refuses(challenges.acknowledge, member.node_id, number, INSTALLED)
    assert refused.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("number", [2**63, 2**200, -(2**200)])
def test_a_number_that_no_database_takes_is_no_fault_of_ours(site: Site, member: Machine, number: int):
    assert after(site, member, number) == ([] if number > 0 else after(site, member, 0))
