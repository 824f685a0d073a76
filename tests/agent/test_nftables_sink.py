"""The nftables sink in namespaces of its own: who passes, and what is left of an isolated host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.errors import ConfigError, SinkFailed
from agent.sinks import load_sink
from agent.sinks.nftables import NftablesSink
from simulators.lab.network.namespaces import Namespace, join
from tests.agent.data_planes import Ends
from tests.namespaces import needs

NETWORKS = {"blue": ["10.77.0.0/24", "fd77::/64"], "a-b": ["10.78.0.0/24"], "a_b": ["10.79.0.0/24"]}
KEEP = ["192.0.2.0/24"]


class Site:
    """Node `a` behind the sink, and `b` and `c` at other ends of cables, all with addresses in the network."""

    def __init__(self, stack: ExitStack) -> None:
        self.ends, self.namespaces = Ends(), {}
        for number, name in enumerate("abc", 1):
            self.namespaces[name] = stack.enter_context(Namespace())
            self.ends.add(name, f"10.77.0.{number}")
        for number, name in enumerate("bc", 2):
            join(self.namespaces["a"], self.namespaces[name], f"192.0.{number}")
            self._route(name, number)
        self.namespaces["a"].command("ip", "address", "add", "10.77.0.1/32", "dev", "lo")

    def _route(self, name: str, number: int) -> None:
        self.namespaces[name].command("ip", "address", "add", f"10.77.0.{number}/32", "dev", "lo")
        self.namespaces["a"].command("ip", "route", "add", f"10.77.0.{number}", "via", f"192.0.{number}.2")
        self.namespaces[name].command("ip", "route", "add", "10.77.0.1", "via", f"192.0.{number}.1")

    def reaches(self, peer: str, address: str = "") -> bool:
        """Whether `a` gets an answer of a peer at its address in the network, and the peer one of `a`."""
        there = {"b": 2, "c": 3}[peer]
        ways = [("a", address or f"10.77.0.{there}", "10.77.0.1"), (peer, "10.77.0.1", f"10.77.0.{there}")]
        if address:
            ways = [("a", address, "")]
        answers = [self._ping(*way) for way in ways]
        assert len({*answers}) == 1
        return answers[0]

    def _ping(self, at: str, to: str, source: str) -> bool:
        options = ["-I", source] if source else []
        command = ["ping", "-q", "-c", "1", "-W", "1", *options, to]
        return self.namespaces[at].command(*command, check=False).returncode == 0

    def sink(self, **options: object) -> Inside:
        return Inside(self.namespaces["a"], NftablesSink({"networks": NETWORKS, **options}))


class Inside:
    """A sink whose methods run in a namespace."""

    def __init__(self, namespace: Namespace, sink: NftablesSink) -> None:
        self.namespace, self.sink = namespace, sink

    def __getattr__(self, name: str) -> object:
        method = getattr(self.sink, name)
        return lambda *arguments: self.namespace.run(lambda: method(*arguments))


@pytest.fixture
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack)


@needs("nft", "ping")
def test_only_those_who_share_an_association_pass(site: Site) -> None:
    sink = site.sink()
    assert site.reaches("b")
    assert site.reaches("c")
    sink.install(site.ends.bundle("a", without=("c",)))
    assert site.reaches("b")
    assert not site.reaches("c")
    assert site.reaches("c", "192.0.3.2")  # outside of the network's ranges nothing is touched
    assert [(held.network, held.associations) for held in sink.held()] == [("blue", 1)]
    sink.install(site.ends.bundle("a"))
    assert site.reaches("c")
    sink.clear("blue")
    assert not site.reaches("b")
    assert sink.held() == []


@needs("nft", "ping")
def test_an_isolated_host_keeps_its_management_and_nothing_else(site: Site) -> None:
    sink = site.sink(isolate_host=True, keep=["192.0.2.0/24"])
    sink.install(site.ends.bundle("a"))
    sink.clear("blue")  # a lease that passed is no isolation
    assert site.reaches("c", "192.0.3.2")
    sink.isolate("blue")
    sink.isolate("blue")
    assert not site.reaches("c", "192.0.3.2")
    assert site.reaches("b", "192.0.2.2")
    assert not site.reaches("b")
    assert site.namespaces["a"].command("ping", "-q", "-c", "1", "127.0.0.1").returncode == 0
    sink.install(site.ends.bundle("a"))
    assert site.reaches("c")
    assert site.reaches("c", "192.0.3.2")


@needs("nft")
def test_rules_of_others_stay_and_ours_are_the_same_after_a_restart(site: Site) -> None:
    here = site.namespaces["a"]
    here.command("nft", "add table inet others; add chain inet others hooked")
    first = site.sink()
    first.install(site.ends.bundle("a"))
    listed = json.loads(here.command("nft", "-j", "list", "ruleset").stdout)
    again = site.sink()
    assert again.held() == first.held()
    again.install(site.ends.bundle("a"))
    after = json.loads(here.command("nft", "-j", "list", "ruleset").stdout)
    assert _without_handles(after) == _without_handles(listed)
    again.stop()
    assert again.held() == []
    assert "others" in here.command("nft", "list", "ruleset").stdout


def _without_handles(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_handles(each) for key, each in value.items() if key != "handle"}
    return [_without_handles(each) for each in value] if isinstance(value, list) else value


def test_networks_that_are_not_configured_are_not_served() -> None:
    sink = NftablesSink({"networks": NETWORKS})
    assert sink.serves("blue")
    assert not sink.serves("green")


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"networks": {"blue": ["10.77.0.1/24"]}}, "networks.blue"),
        ({"networks": {"blue": ["everything"]}}, "networks.blue"),
        ({"networks": {}, "keep": ["x"]}, "keep"),
        ({"networks": {}, "isolate_host": True}, "isolate the host"),
        ({"networks": {}, "chain": "x"}, "chain"),
        ({}, "networks"),
    ],
)
def test_bad_options_are_refused(options: dict, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        load_sink("nftables", options)
    assert caught.value.remedy


def test_without_nft_or_its_rights_the_error_says_what_to_do(tmp_path: Path) -> None:
    gone = NftablesSink({"networks": NETWORKS, "nft": str(tmp_path / "nft")})
    with pytest.raises(SinkFailed, match="there is no") as caught:
        gone.clear("blue")
    assert "nftables" in caught.value.remedy
    refusing = tmp_path / "nft"
    refusing.write_text(
        "#!/bin/sh\necho 'netlink: Error: cache initialization failed: Operation not permitted' >&2\nexit 1\n"
    )
    refusing.chmod(0o755)
    with pytest.raises(SinkFailed, match="not permitted") as caught:
        gone.clear("blue")
    assert "CAP_NET_ADMIN" in caught.value.remedy
