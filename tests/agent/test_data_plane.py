"""What sinks offer to peers reaches the authority: after a start, on change, with every connection, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.client import AuthorityClient
from agent.data_plane import FactsReporter
from agent.enclave import EnclaveGate
from agent.errors import AuthorityRefused
from agent.identity import pinned_context
from agent.sinks import DataPlaneFacts, offered
from agent.sinks.file import FileSink
from agent.state import StateDirectory
from protocol.codec import decode
from protocol.delivery import Peer
from protocol.levels import ResourceClass
from protocol.mapping import DataPlaneReport, MappingAnswer
from protocol.problems import ErrorCode
from tests.agent.daemon_site import STATUS, make_site, until
from tests.agent.scripted_authority import Refusal, ScriptedAuthority, served

WIREGUARD = DataPlaneFacts(wireguard_public=b"k" * 32, wireguard_port=51820)
ESP = DataPlaneFacts(endpoint="192.0.2.5")
PATH = "/v1/data-plane"


class Offering:
    """A sink that has facts; every other method is another test's."""

    def __init__(self, facts: DataPlaneFacts) -> None:
        self.given = facts

    def facts(self) -> DataPlaneFacts:
        return self.given


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[ScriptedAuthority]:
    with served(tmp_path) as found:
        found.on("PUT", PATH, lambda _: b"{}")
        yield found


@pytest.fixture
def client(authority: ScriptedAuthority) -> Iterator[AuthorityClient]:
    with AuthorityClient(authority.url, pinned_context(authority.ca.pem), 5.0) as found:
        yield found


def test_facts_of_several_sinks_are_offered_together(tmp_path: Path) -> None:
    silent = FileSink({"path": str(tmp_path / "keys.json")})
    assert offered([silent]) is None
    together = DataPlaneFacts(wireguard_public=b"k" * 32, wireguard_port=51820, endpoint="192.0.2.5")
    assert offered([silent, Offering(ESP), Offering(WIREGUARD)]) == together
    assert offered([Offering(DataPlaneFacts())]) == DataPlaneFacts()


def test_the_authority_is_told_once_and_again_when_it_changes(
    authority: ScriptedAuthority, client: AuthorityClient
) -> None:
    sink = Offering(WIREGUARD)
    reporter = FactsReporter(lambda: offered([sink]))
    assert [reporter.tell(client) for _ in range(3)] == [True, False, False]
    sink.given = ESP
    assert [reporter.tell(client) for _ in range(2)] == [True, False]
    reporter.forget()
    assert reporter.tell(client)
    told = [decode(body, DataPlaneReport) for body in authority.seen(PATH)]
    assert [report.wireguard_port for report in told] == [51820, 0, 0]
    assert [report.endpoint for report in told] == ["", "192.0.2.5", "192.0.2.5"]


def test_where_no_sink_offers_anything_nothing_is_sent(authority: ScriptedAuthority, client: AuthorityClient) -> None:
    assert not FactsReporter(lambda: None).tell(client)
    assert authority.seen(PATH) == []


def test_what_is_refused_is_not_sent_again_until_it_changes(
    authority: ScriptedAuthority, client: AuthorityClient
) -> None:
    def refuse(_: bytes) -> object:
        raise Refusal(409, ErrorCode.CONFLICT)

    authority.on("PUT", PATH, refuse)
    reporter = FactsReporter(lambda: WIREGUARD)
    with pytest.raises(AuthorityRefused):
        reporter.tell(client)
    assert not reporter.tell(client)
    assert len(authority.seen(PATH)) == 1


def test_a_daemon_tells_what_its_sinks_offer(
    authority: ScriptedAuthority, state: StateDirectory, gate: EnclaveGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileSink, "facts", lambda _: WIREGUARD, raising=False)
    authority.on_connect = [STATUS]
    with make_site(authority, state, gate).running():
        until(lambda: authority.seen(PATH))
    assert decode(authority.seen(PATH)[0], DataPlaneReport).wireguard_public == b"k" * 32


def test_a_look_up_names_network_and_address_in_its_path(authority: ScriptedAuthority, client: AuthorityClient) -> None:
    peer = Peer(node_id="ab" * 32, name="web", address="fd00::1")
    answer = MappingAnswer(network="core", peer=peer, resource_class=ResourceClass.NORMAL, version=3)
    authority.on("GET", "/v1/mapping/core/fd00::1", lambda _: answer)
    assert client.look_up("core", "fd00::1") == answer
