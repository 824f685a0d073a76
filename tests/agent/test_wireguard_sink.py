"""The WireGuard sink on a modelled interface, and on wireguard-go between two namespaces."""

from __future__ import annotations

import base64
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.errors import ConfigError, SinkFailed
from agent.sinks import load_sink
from agent.sinks.wireguard import WireGuardSink
from agent.sinks.wireguard._uapi import UapiDevice
from protocol.wireguard import wireguard_psk
from simulators.devices.wireguard import WireGuardModel
from simulators.lab.network.namespaces import Namespace, join
from tests.agent.data_planes import Ends
from tests.namespaces import needs

NAMES = ("node-a", "node-b", "node-c")


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """Sinks of several nodes, each on an interface of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.clock, self.ends, self.folder = Clock(), Ends(), folder
        self.models, self.sinks = {}, {}
        for number, name in enumerate(NAMES, 1):
            self.models[name] = stack.enter_context(WireGuardModel(folder, name))
            sink = self.sinks[name] = self.again(name)
            public, port = sink.facts().wireguard_public, sink.facts().wireguard_port
            self.ends.add(name, f"10.77.0.{number}", f"192.0.2.{number}", public, port)

    def again(self, name: str) -> WireGuardSink:
        options = {"network": "blue", "private_key_file": str(self.folder / f"{name}.key"), "manage_link": False}
        return WireGuardSink(options, self.clock, UapiDevice(name, self.folder))

    def psk(self, of: str, about: str) -> str:
        return self.models[of].peers[self.public(about).hex()].values["preshared_key"]

    def public(self, name: str) -> bytes:
        return self.ends.places[name].wireguard_public


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        yield Rig(tmp_path, stack)


def test_both_ends_of_every_pair_have_the_same_key_and_no_other_pair_has_it(rig: Rig) -> None:
    for name in NAMES:
        rig.sinks[name].install(rig.ends.bundle(name))
    pairs = [(one, other) for one in NAMES for other in NAMES if one < other]
    keys = {pair: rig.psk(*pair) for pair in pairs}
    assert all(rig.psk(other, one) == keys[one, other] for one, other in pairs)
    assert len({*keys.values()}) == len(pairs)


def test_a_peer_gets_its_address_and_its_place(rig: Rig) -> None:
    rig.sinks["node-a"].install(rig.ends.bundle("node-a"))
    peer = rig.models["node-a"].peers[rig.public("node-b").hex()]
    assert peer.allowed == ["10.77.0.2/32"]
    assert peer.values["endpoint"] == "192.0.2.2:51820"


def test_the_receiver_takes_the_newest_key_that_it_may_be_sent_under(rig: Rig) -> None:
    """In the midst of a rotation one end has the next epoch already, and both agree as soon as the other has."""
    low, high = sorted(("node-a", "node-b"), key=rig.public)
    rig.sinks[high].install(rig.ends.bundle(high, epoch=1, accept=(2,)))
    rig.sinks[low].install(rig.ends.bundle(low, epoch=2, accept=(1,)))
    assert rig.psk(low, high) == rig.psk(high, low)


def test_of_epochs_held_ahead_both_ends_take_the_one_in_force_and_change_over_at_its_time(rig: Rig) -> None:
    low, high = sorted(("node-a", "node-b"), key=rig.public)
    at = rig.clock.now + 600.0

    def install() -> str:
        """Each end as its agent gives it: one key to send under, and all those of its peers."""
        epoch = 2 if rig.clock.now >= at else 1
        for name in (low, high):
            given = rig.ends.bundle(name, epoch=epoch, accept=(1, 2))
            held = [replace(one, not_before=at if one.epoch == 2 else 0.0) for one in given.associations]
            rig.sinks[name].install(replace(given, associations=held))
        assert rig.psk(low, high) == rig.psk(high, low)
        return rig.psk(low, high)

    before = install()
    rig.clock.now = at - 1.0
    assert install() == before
    rig.clock.now = at
    assert install() != before


def test_a_new_key_leaves_sessions_and_other_peers_alone(rig: Rig) -> None:
    sink, model = rig.sinks["node-a"], rig.models["node-a"]
    sink.install(rig.ends.bundle("node-a"))
    model.shake(rig.public("node-b"), 1001.0)
    model.peers[rig.public("node-b").hex()].values["endpoint"] = "198.51.100.9:4000"
    sink.install(rig.ends.bundle("node-a", epoch=2))
    peer = model.peers[rig.public("node-b").hex()]
    assert peer.handshake == 1001.0
    assert peer.values["endpoint"] == "198.51.100.9:4000"  # it roamed, and the authority says nothing new


def test_the_same_bundle_again_changes_nothing(rig: Rig) -> None:
    sink, model = rig.sinks["node-a"], rig.models["node-a"]
    sink.install(rig.ends.bundle("node-a"))
    before = model.requests
    sink.install(rig.ends.bundle("node-a"))
    assert model.requests == before + 2  # looked twice, set nothing


def test_what_is_staged_is_in_force_after_the_next_handshake(rig: Rig) -> None:
    sink, model = rig.sinks["node-a"], rig.models["node-a"]
    sink.install(rig.ends.bundle("node-a", version=3))
    assert (sink.held()[0].versions, sink.held()[0].in_force) == ([3], [])
    model.shake(rig.public("node-b"), 1001.0)
    assert sink.held()[0].in_force == [3]
    rig.clock.now = 1002.0
    sink.install(rig.ends.bundle("node-a", version=4, epoch=2))
    assert (sink.held()[0].versions, sink.held()[0].in_force) == ([4], [])
    model.shake(rig.public("node-b"), 1003.0)
    assert sink.held()[0].in_force == [4]
    assert rig.again("node-a").held() == sink.held()  # as another process sees it


def test_a_peer_that_is_no_longer_named_is_removed(rig: Rig) -> None:
    sink = rig.sinks["node-a"]
    sink.install(rig.ends.bundle("node-a"))
    sink.install(rig.ends.bundle("node-a", without=("node-b",)))
    assert {*rig.models["node-a"].peers} == {rig.public("node-c").hex()}
    sink.clear("green")
    assert rig.models["node-a"].peers
    sink.clear("blue")
    assert sink.held() == []


def test_keys_that_change_faster_than_handshakes_are_refused_and_peers_still_go(rig: Rig) -> None:
    sink = rig.sinks["node-a"]
    sink.install(rig.ends.bundle("node-a"))
    staged = rig.psk("node-a", "node-c")
    with pytest.raises(SinkFailed, match="every 60 s") as caught:
        sink.install(rig.ends.bundle("node-a", epoch=2, rotate_s=60.0, without=("node-b",)))
    assert "180" in caught.value.remedy
    assert {*rig.models["node-a"].peers} == {rig.public("node-c").hex()}
    assert rig.psk("node-a", "node-c") == staged


def test_a_peer_without_a_key_is_left_out_until_it_has_one(rig: Rig) -> None:
    known = rig.ends.places["node-b"]
    rig.ends.add("node-b", known.address, known.endpoint)
    rig.sinks["node-a"].install(rig.ends.bundle("node-a"))
    assert {*rig.models["node-a"].peers} == {rig.public("node-c").hex()}
    rig.ends.places["node-b"] = known
    rig.sinks["node-a"].install(rig.ends.bundle("node-a"))
    assert rig.public("node-b").hex() in rig.models["node-a"].peers


def test_an_interface_that_was_made_anew_is_configured_again(rig: Rig) -> None:
    sink, model = rig.sinks["node-a"], rig.models["node-a"]
    sink.install(rig.ends.bundle("node-a"))
    key, model.private, model.port = model.private, "", 0
    model.peers.clear()
    assert sink.held() == []
    sink.install(rig.ends.bundle("node-a"))
    assert (model.private, model.port, len(model.peers)) == (key, 51820, 2)


@pytest.mark.parametrize("fault", ["errno", "garbage", "hang-up"])
def test_an_interface_that_fails_is_told_of(rig: Rig, fault: str) -> None:
    sink = rig.sinks["node-a"]
    sink.install(rig.ends.bundle("node-a"))
    rig.models["node-a"].fault = fault
    for work in (lambda: sink.install(rig.ends.bundle("node-a", epoch=2)), lambda: sink.clear("blue"), sink.held):
        with pytest.raises(SinkFailed, match="interface node-a") as caught:
            work()
        assert caught.value.remedy
        assert not re.search("[0-9a-f]{64}", f"{caught.value} {caught.value.remedy}")


def test_an_interface_that_is_not_there(tmp_path: Path) -> None:
    options = {"network": "blue", "private_key_file": str(tmp_path / "key"), "interface": "kvnone", "driver": "user"}
    with pytest.raises(SinkFailed, match="No such file") as caught:
        load_sink("wireguard", options).held()
    assert "wireguard-go kvnone" in caught.value.remedy


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    options = {"network": "blue", "private_key_file": str(tmp_path / "key")}
    first, again = WireGuardSink(options), WireGuardSink(options)
    assert first.facts() == again.facts()
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert len(base64.b64decode((tmp_path / "key").read_bytes())) == 32


@pytest.mark.parametrize(
    ("content", "mode", "cause"), [(b"AAAA", 0o600, "no WireGuard key"), (b"A" * 43 + b"=", 0o644, "open to others")]
)
def test_a_bad_key_file_is_refused(tmp_path: Path, content: bytes, mode: int, cause: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=cause) as caught:
        WireGuardSink({"network": "blue", "private_key_file": str(path)})
    assert caught.value.remedy
    assert path.read_bytes() == content


def test_a_golden_preshared_key() -> None:
    """Reckoned by RFC 5869 with HMAC alone."""
    key = wireguard_psk(bytes(range(32)), "blue")
    assert key.hex() == "9b67bf4afd52c5f06f0bead985f2728b4d36c25407cbb415f6ff79021bb922a1"
    assert wireguard_psk(bytes(range(32)), "green") != key
    with pytest.raises(ValueError, match="32 bytes"):
        wireguard_psk(b"short", "blue")


class Node:
    """A node in a namespace with wireguard-go and the sink."""

    def __init__(self, stack: ExitStack, folder: Path, number: int) -> None:
        self.namespace = stack.enter_context(Namespace())
        self.interface = f"kvt{self.namespace.name[-6:]}"
        go = self.namespace.argv("wireguard-go", "--foreground", self.interface)
        process = stack.enter_context(subprocess.Popen(go, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        stack.callback(process.terminate)
        options = {"network": "blue", "private_key_file": str(folder / f"key-{number}"), "interface": self.interface}
        self.sink = WireGuardSink(options)
        wait = threading.Event()
        socket = Path(f"/var/run/wireguard/{self.interface}.sock")
        while not socket.exists():
            assert process.poll() is None
            wait.wait(0.05)


@needs("wireguard-go", "ping")
def test_packets_pass_while_keys_change_and_stop_when_a_peer_goes(tmp_path: Path) -> None:
    with ExitStack() as stack:
        ends, nodes = Ends(), {}
        for number, name in enumerate(NAMES[:2], 1):
            node = nodes[name] = Node(stack, tmp_path, number)
            facts = node.sink.facts()
            ends.add(name, f"10.77.0.{number}", f"192.0.2.{number}", facts.wireguard_public, facts.wireguard_port)
        join(nodes["node-a"].namespace, nodes["node-b"].namespace)

        def install(epoch: int, **options: object) -> None:
            for name, node in nodes.items():
                node.namespace.run(lambda name=name, node=node: node.sink.install(ends.bundle(name, epoch, **options)))

        install(1)
        sending = nodes["node-a"].namespace
        ping = ["ping", "-q", "-i", "0.02", "-c", "100", "-W", "2", "10.77.0.2"]
        assert sending.command("ping", "-c", "3", "-i", "0.2", "-W", "2", "10.77.0.2").returncode == 0
        assert nodes["node-a"].sink.held()[0].in_force == [3]
        running = subprocess.Popen(sending.argv(*ping), stdout=subprocess.PIPE, text=True)
        for epoch in range(2, 12):
            install(epoch)
        assert ", 0% packet loss" in running.communicate(timeout=60)[0]
        assert nodes["node-a"].sink.held()[0].in_force == []
        nodes["node-b"].namespace.run(lambda: nodes["node-b"].sink.install(ends.bundle("node-b", without=("node-a",))))
        assert sending.command("ping", "-c", "3", "-i", "0.2", "-W", "1", "10.77.0.2", check=False).returncode == 1
