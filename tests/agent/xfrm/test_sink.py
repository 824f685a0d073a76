"""The xfrm sink against the model of the kernel's tables: order, reconciliation, crashes."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from agent.errors import KeysLost, SinkFailed
from agent.sinks import load_sink
from agent.sinks.xfrm import XfrmSink
from agent.sinks.xfrm.constants import Action, MessageType, PolicyDirection
from protocol.delivery import Direction, Peer
from protocol.esp import esp_keys
from protocol.key_schedule import pair_spi
from simulators.devices.xfrm_kernel import XfrmFault, XfrmKernel
from tests.agent.xfrm.made import (
    ENDPOINT,
    NOW,
    PEERS,
    PREPARED,
    RETIRED,
    STEADY,
    SWITCHED,
    association,
    bundle,
    key_of,
    out_policy,
    sends_under,
    sink,
    spis,
    tables,
)


def kinds(kernel: XfrmKernel) -> list[MessageType]:
    return [MessageType(kind) for kind, _ in kernel.history]


def test_a_rotation_adds_before_it_switches_and_switches_before_it_removes(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    for step, into in ((PREPARED, [2, 2, 3, 3]), (SWITCHED, [2, 2, 3, 3]), (RETIRED, [2, 3])):
        kernel.history.clear()
        one.install(step)
        assert [spi >> 12 for spi in spis(tables(kernel), ENDPOINT)] == into
        order = [kind for kind in kinds(kernel) if kind is not MessageType.UPDSA]
        assert order == sorted(order, key=[MessageType.NEWSA, MessageType.UPDPOLICY, MessageType.DELSA].index)
    assert sends_under(tables(kernel)) == pair_spi(1, 2)
    assert spis(tables(kernel), "10.1.2.2") == [pair_spi(1, 2)]


def test_what_is_there_is_left_alone(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(STEADY)
    kernel.history.clear()
    sink(kernel, tmp_path).install(STEADY)
    assert kernel.history == []


def test_a_longer_lease_lengthens_lives_and_makes_no_state_anew(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    kernel.history.clear()
    one.install(msgspec.structs.replace(STEADY, expires_at=NOW + 7200))
    assert set(kinds(kernel)) == {MessageType.UPDSA}
    assert {state.hard_seconds for state in tables(kernel).states} == {7200}


def test_lives_end_with_the_lease(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(STEADY)
    assert {state.hard_seconds for state in tables(kernel).states} == {600}


def test_a_lease_that_has_passed_brings_no_state_and_lets_nothing_through(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(msgspec.structs.replace(STEADY, expires_at=NOW - 1))
    assert tables(kernel).states == []
    assert sends_under(tables(kernel)) in {0, pair_spi(1, 1)}


def test_a_key_that_the_kernel_lost_is_never_sent_under_again(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(STEADY)
    kernel.states.clear()
    kernel.policies.clear()
    with pytest.raises(KeysLost, match="in use here before"):
        sink(kernel, tmp_path).install(STEADY)
    held = tables(kernel)
    assert spis(held, "10.1.2.2") == []
    assert sends_under(held) == 0
    assert len(spis(held, ENDPOINT)) == 2
    sink(kernel, tmp_path).install(SWITCHED)
    assert sends_under(tables(kernel)) == pair_spi(1, 2)


def test_the_control_without_the_ledger_sends_under_the_key_again(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(STEADY)
    kernel.states.clear()
    kernel.policies.clear()
    sink(kernel, tmp_path / "elsewhere").install(STEADY)
    assert sends_under(tables(kernel)) == pair_spi(1, 1)


def test_the_same_spi_with_another_key_takes_the_place_and_is_shut_meanwhile(
    kernel: XfrmKernel, tmp_path: Path
) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    before = {state.id: state.fingerprint for state in tables(kernel).states}
    kernel.history.clear()
    one.install(bundle({"b": 1, "c": 1}, {"b": [1], "c": [1]}, salt="restored authority"))
    after = {state.id: state.fingerprint for state in tables(kernel).states}
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    assert kinds(kernel)[0] is MessageType.UPDPOLICY
    assert sends_under(tables(kernel)) == pair_spi(1, 1)


@pytest.mark.parametrize("step", [PREPARED, SWITCHED, RETIRED], ids=["prepare", "switch", "retire"])
def test_a_crash_after_any_change_is_put_right_by_the_next_start(
    kernel: XfrmKernel, tmp_path: Path, step: object
) -> None:
    wanted = _after(tmp_path / "whole", step)
    point = 0
    while True:
        point += 1
        kernel.states.clear()
        kernel.policies.clear()
        kernel.order(None)
        folder = tmp_path / f"{point}"
        sink(kernel, folder).install(PREPARED if step is not PREPARED else STEADY)
        kernel.order(XfrmFault.DIES, after=point - 1, times=1)
        try:
            sink(kernel, folder).install(step)
        except SinkFailed:
            kernel.order(None)
            sink(kernel, folder).install(step)
            assert _summary(kernel) == wanted
            continue
        assert point > 2
        return


def _after(folder: Path, step: object) -> tuple:
    with XfrmKernel(now=NOW) as kernel:
        sink(kernel, folder).install(step)
        return _summary(kernel)


def _summary(kernel: XfrmKernel) -> tuple:
    held = tables(kernel)
    return (
        {(state.id, state.fingerprint, state.hard_seconds) for state in held.states},
        {(policy.place, policy.action, policy.template) for policy in held.policies},
    )


def test_others_states_and_policies_are_left_alone(kernel: XfrmKernel, tmp_path: Path) -> None:
    other = sink(kernel, tmp_path / "other")
    other.install(bundle({"b": 5}, {"b": [5]}, network="green", peers={"b": PEERS["b"]}, place=("10.8.0.1", ENDPOINT)))
    foreign = {name: bytes(state).replace(b"\x4b", b"\x01") for name, state in kernel.states.items()}
    kernel.states.clear()
    kernel.policies.clear()
    kernel.states.update({name: bytearray(state) for name, state in foreign.items()})
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    one.clear("blue")
    assert {name: bytes(state) for name, state in kernel.states.items()} == foreign


def test_a_member_without_association_is_shut_out_and_never_spoken_to_in_clear(
    kernel: XfrmKernel, tmp_path: Path
) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    one.install(bundle({"c": 1}, {"c": [1]}))
    held = tables(kernel)
    assert sends_under(held) == 0
    assert sends_under(held, "10.9.0.3") == pair_spi(1, 1)
    guards = {(policy.direction, str(policy.selector)) for policy in held.policies if policy.action == Action.BLOCK}
    assert (PolicyDirection.OUT, "0.0.0.0/0 to 10.9.0.2/32") in guards
    assert (PolicyDirection.IN, "10.9.0.2/32 to 0.0.0.0/0") in guards


def test_a_member_that_is_gone_stays_shut_out_and_so_does_everyone_after_clear(
    kernel: XfrmKernel, tmp_path: Path
) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    one.install(bundle({"c": 1}, {"c": [1]}, peers={"c": PEERS["c"]}))
    assert sends_under(tables(kernel)) == 0
    one.clear("blue")
    held = tables(kernel)
    assert held.states == []
    assert {policy.action for policy in held.policies} == {Action.BLOCK}
    assert one.held() == []


def test_a_network_that_fails_open_leaves_no_policy(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(STEADY)
    one = sink(kernel, tmp_path, fail_closed=False)
    one.install(bundle({"c": 1}, {"c": [1]}))
    assert out_policy(tables(kernel)) is None
    assert {policy.action for policy in tables(kernel).policies} == {Action.ALLOW}
    one.clear("blue")
    assert tables(kernel).policies == []


def test_prefixes_are_protected_whoever_is_a_member(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path, protect=["10.9.0.0/16", "fd09::/48"])
    one.clear("blue")
    shut = {str(policy.selector) for policy in tables(kernel).policies}
    assert shut == {"0.0.0.0/0 to 10.9.0.0/16", "10.9.0.0/16 to 0.0.0.0/0", "::/0 to fd09::/48", "fd09::/48 to ::/0"}
    sink(kernel, tmp_path).clear("blue")
    assert tables(kernel).policies == []


@pytest.mark.parametrize(
    ("own", "peer", "mode"),
    [
        (("10.9.0.1", "10.1.1.2"), ("10.9.0.2", "10.1.2.2"), 1),
        (("10.1.1.2", "10.1.1.2"), ("10.1.2.2", "10.1.2.2"), 0),
        (("fd09::1", "fd01::1"), ("fd09::2", "fd01::2"), 1),
        (("fd01::1", "fd01::1"), ("fd01::2", "fd01::2"), 0),
        (("fd09::1", "10.1.1.2"), ("fd09::2", "10.1.2.2"), 1),
        (("10.1.1.2", "10.1.1.2"), ("10.9.0.2", "10.1.2.2"), 1),
    ],
)
def test_the_bundle_chooses_mode_and_family(
    kernel: XfrmKernel, tmp_path: Path, own: tuple[str, str], peer: tuple[str, str], mode: int
) -> None:
    one = sink(kernel, tmp_path)
    one.install(bundle({"b": 1}, {"b": [1]}, peers={"b": Peer("b", "node-b", *peer)}, place=own))
    held = tables(kernel)
    assert {state.mode for state in held.states} == {mode}
    assert {str(state.selector) for state in held.states} == {
        f"{one}/{128 if ':' in one else 32} to {two}/{128 if ':' in one else 32}"
        for one, two in ((own[0], peer[0]), (peer[0], own[0]))
    }
    kernel.history.clear()
    sink(kernel, tmp_path).install(bundle({"b": 1}, {"b": [1]}, peers={"b": Peer("b", "node-b", *peer)}, place=own))
    assert kernel.history == []


def test_of_several_outbound_the_last_whose_time_has_come_is_sent_under(kernel: XfrmKernel, tmp_path: Path) -> None:
    times = {1: 0.0, 2: NOW - 1, 3: NOW + 60}
    out = [
        msgspec.structs.replace(association("b", Direction.OUTBOUND, epoch), not_before=at)
        for epoch, at in times.items()
    ]
    sink(kernel, tmp_path).install(msgspec.structs.replace(bundle({}, {}), associations=out))
    assert sends_under(tables(kernel)) == pair_spi(1, 2)
    assert spis(tables(kernel), "10.1.2.2") == [pair_spi(1, 2)]


def test_a_kernel_that_keeps_keys_back_is_taken_at_the_spi_s_word(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    kernel.order(XfrmFault.KEYS_KEPT_BACK)
    kernel.history.clear()
    one.install(STEADY)
    assert kernel.history == []
    one.install(SWITCHED)
    assert sends_under(tables(kernel)) == pair_spi(1, 2)


def test_no_file_of_the_sink_holds_a_secret_or_is_open_to_others(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(STEADY)
    folder = tmp_path / "xfrm"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["networks.json", "used"]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        content = file.read_text()
        for one in ("b", "c"):
            key = key_of("a", one, 1)
            assert key.hex()[:16] not in content
            assert esp_keys(key).hex()[:16] not in content


def test_a_network_whose_name_was_lost_is_shown_and_can_be_cleared(kernel: XfrmKernel, tmp_path: Path) -> None:
    sink(kernel, tmp_path).install(STEADY)
    stranger = sink(kernel, tmp_path / "elsewhere")
    (held,) = stranger.held()
    assert held.network.startswith("reqid-4b")
    stranger.clear(held.network)
    assert tables(kernel).states == []


def test_networks_do_not_disturb_one_another(kernel: XfrmKernel, tmp_path: Path) -> None:
    one = sink(kernel, tmp_path)
    one.install(STEADY)
    there = {"b": Peer("b", "node-b", "10.8.0.2", "10.1.2.2")}
    one.install(bundle({"b": 9}, {"b": [9]}, network="green", peers=there, place=("10.8.0.1", ENDPOINT)))
    one.clear("blue")
    assert [held.network for held in one.held()] == ["green"]
    assert sends_under(tables(kernel), "10.8.0.2") == pair_spi(1, 9)


def test_the_sink_is_found_by_entry_point() -> None:
    assert isinstance(load_sink("xfrm", {"state_dir": "/nonexistent"}), XfrmSink)


def test_the_sink_takes_the_networks_that_it_is_for_and_offers_its_endpoint(tmp_path: Path) -> None:
    everything = XfrmSink({"state_dir": str(tmp_path)})
    one = XfrmSink({"state_dir": str(tmp_path), "networks": ["blue"], "endpoint": "10.1.1.2"})
    assert [sink.serves("blue") for sink in (everything, one)] == [True, True]
    assert [sink.serves("green") for sink in (everything, one)] == [True, False]
    assert [sink.facts().endpoint for sink in (everything, one)] == ["", "10.1.1.2"]
