"""What the xfrm sink refuses, and what stays in force then."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.errors import ConfigError, SinkFailed
from agent.sinks import HeldKeys, load_sink
from protocol.delivery import Direction, Peer
from protocol.esp import esp_keys
from protocol.key_schedule import pair_spi
from simulators.devices.xfrm_kernel import XfrmFault, XfrmKernel
from tests.agent.xfrm.made import (
    ENDPOINT,
    NOW,
    OWN,
    PEERS,
    STEADY,
    SWITCHED,
    association,
    bundle,
    sends_under,
    sink,
    tables,
)


def test_a_foreign_policy_for_the_same_packets_is_not_replaced(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path / "other").install(STEADY)
    for name, policy in list(kernel.policies.items()):
        reqid_at = policy.rindex(b"\x4b")
        kernel.policies[name] = policy[:reqid_at] + b"\x01" + policy[reqid_at + 1 :]
    kernel.states.clear()
    foreign = dict(kernel.policies)
    with pytest.raises(SinkFailed, match="another program"):
        sink(kernel, tmp_path).install(STEADY)
    assert {name: kernel.policies[name] for name in foreign} == foreign


def test_a_foreign_state_with_the_same_name_is_not_replaced(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path / "other").install(STEADY)
    foreign = {name: bytes(state).replace(b"\x4b\x02\x00", b"\x01\x02\x00") for name, state in kernel.states.items()}
    assert all(foreign[name] != bytes(state) for name, state in kernel.states.items())
    kernel.states.update({name: bytearray(state) for name, state in foreign.items()})
    kernel.policies.clear()
    with pytest.raises(SinkFailed, match="another program holds the state"):
        sink(kernel, tmp_path).install(STEADY)
    assert {name: bytes(state) for name, state in kernel.states.items()} == foreign
    assert sends_under(tables(kernel)) == 0


@pytest.mark.parametrize(
    ("peer", "says"),
    [
        (Peer("b", "node-b", "10.9.0.2"), "endpoint"),
        (Peer("b", "node-b", ""), "address"),
        (Peer("b", "node-b", "fd09::2", "10.1.2.2"), "IPv6"),
        (Peer("b", "node-b", "10.9.0.2", "fd01::2"), "IPv6"),
        (Peer("b", "node-b", "10.9.0.999", "10.1.2.2"), "10.9.0.999"),
        (Peer("d", "node-d", "10.9.0.2", "10.1.2.2"), "where it is"),
    ],
)
def test_a_peer_that_cannot_be_reached_costs_only_its_own_keys(
    kernel: XfrmKernel, tmp_path: Path, peer: Peer, says: str
) -> None:
    with pytest.raises(SinkFailed, match=says):
        sink(kernel, tmp_path).install(bundle({"b": 1, "c": 1}, {}, peers={"b": peer, "c": PEERS["c"]}))
    assert sends_under(tables(kernel), "10.9.0.3") == pair_spi(1, 1)


def test_two_associations_with_one_spi_are_not_both_installed(kernel: XfrmKernel, tmp_path: Path) -> None:
    twin = msgspec.structs.replace(association("c", Direction.INBOUND, 1), spi=pair_spi(2, 1))
    news = bundle({}, {"b": [1]})
    with pytest.raises(SinkFailed, match="another one's too"):
        sink(kernel, tmp_path).install(msgspec.structs.replace(news, associations=[*news.associations, twin]))
    assert len(tables(kernel).states) == 1


@pytest.mark.parametrize(
    ("fault", "says", "remedy"),
    [
        (XfrmFault.NO_ESP, "Requested AEAD algorithm not found", "esp4"),
        (XfrmFault.NOT_PERMITTED, "not permitted", "CAP_NET_ADMIN"),
        (XfrmFault.NO_MEMORY, "memory", "stays in force"),
        (XfrmFault.TRUNCATED, "cut off|impossible length", "Report this"),
        (XfrmFault.DUMP_FAILS, "busy", "docs/sinks.md"),
        (XfrmFault.INTERRUPTED, "keep changing", "docs/sinks.md"),
        (XfrmFault.DIES, "cut off", "Report this"),
    ],
)
def test_refusals_name_cause_and_remedy_and_no_key(
    kernel: XfrmKernel, tmp_path: Path, fault: XfrmFault, says: str, remedy: str
) -> None:
    kernel.order(fault)
    with pytest.raises(SinkFailed, match=says) as refusal:
        sink(kernel, tmp_path).install(STEADY)
    assert remedy in refusal.value.remedy
    whole = f"{refusal.value!r} {refusal.value.remedy} {refusal.value.__context__!r}"
    for one in STEADY.associations:
        assert esp_keys(one.key).hex()[:16] not in whole
        assert one.key.hex()[:16] not in whole


def test_memory_that_runs_out_midway_leaves_what_was_in_force_in_force(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    kernel.order(XfrmFault.NO_MEMORY, after=1)
    with pytest.raises(SinkFailed):
        one.install(SWITCHED)
    assert sends_under(tables(kernel)) == pair_spi(1, 1)
    kernel.order(None)
    one.install(SWITCHED)
    assert sends_under(tables(kernel)) == pair_spi(1, 2)


def test_a_dump_during_which_tables_changed_is_taken_again(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    kernel.order(XfrmFault.INTERRUPTED, times=3)
    assert one.held() == [HeldKeys("blue", 4, [3], NOW + 600)]


def test_two_networks_cannot_both_have_an_address(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    with pytest.raises(SinkFailed, match="another network"):
        one.install(bundle({"b": 9}, {"b": [9]}, network="green", place=(OWN, ENDPOINT)))
    assert sends_under(tables(kernel)) == pair_spi(1, 1)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, "state_dir"),
        ({"state_dir": "relative"}, "absolute"),
        ({"state_dir": "/x", "replay_window": 8}, "replay_window"),
        ({"state_dir": "/x", "replay_window": 5000}, "replay_window"),
        ({"state_dir": "/x", "protect": ["10.9.0.1/16"]}, "10.9.0.1/16"),
        ({"state_dir": "/x", "priority": 0}, "priority"),
        ({"state_dir": "/x", "endpoint": "10.1.2"}, "endpoint"),
        ({"state_dir": "/x", "mode": "beet"}, "mode"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        load_sink("xfrm", options)


def test_nothing_is_sent_under_a_key_that_could_not_be_recorded(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    used = tmp_path / "xfrm" / "used"
    used.unlink()
    used.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SinkFailed):
        one.install(SWITCHED)
    assert sends_under(tables(kernel)) == pair_spi(1, 1)
    used.unlink()
    one.install(SWITCHED)
    assert sends_under(tables(kernel)) == pair_spi(1, 2)
