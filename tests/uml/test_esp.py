"""The xfrm sink on a kernel that has ESP, inside User-Mode Linux: packets, wires, crashes, reboots."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.uml.machine import run

pytestmark = [pytest.mark.uml, pytest.mark.slow]

KINDS = ["tunnel4", "transport4", "tunnel6", "transport6", "tunnel64", "tunnel46"]
PACKETS = 20


@pytest.mark.timeout(1800)
def test_a_thousand_rotations_between_two_nodes_lose_and_double_nothing(tmp_path: Path) -> None:
    result = run("run_rotations", tmp_path, 2, 1000, 400, "staged", timeout_s=1700)
    assert result["pair_rotations"] == 2000
    assert result["sent"] > 10_000
    assert result["pings"] > 1000
    assert [result[name] for name in ("lost", "duplicated", "pings_lost", "refused")] == [0, 0, 0, 0]
    assert result["counters"] == {"n1": {}, "n2": {}}


@pytest.mark.timeout(3600)
def test_a_thousand_rotations_by_the_authority_lose_and_double_nothing(tmp_path: Path) -> None:
    pytest.importorskip("authority.keys.rotation", reason="this authority does not rotate make-before-break")
    result = run("run_authority", tmp_path, 2, 1000, 400, timeout_s=3500)
    assert min(result["epochs"]) > 1000
    assert result["evicted"] == 0
    assert result["sent"] > 10_000
    assert [result[name] for name in ("lost", "duplicated", "pings_lost", "refused")] == [0, 0, 0, 0]
    assert result["counters"] == {"n1": {}, "n2": {}}


@pytest.mark.timeout(3600)
def test_five_nodes_rotated_by_the_authority_lose_nothing(tmp_path: Path) -> None:
    pytest.importorskip("authority.keys.rotation", reason="this authority does not rotate make-before-break")
    result = run("run_authority", tmp_path, 5, 200, 40, timeout_s=3500)
    assert min(result["epochs"]) > 200
    assert result["restarts"] >= 3 * 200
    assert [result[name] for name in ("lost", "duplicated", "pings_lost", "refused", "evicted")] == [0, 0, 0, 0, 0]


@pytest.mark.timeout(600)
def test_the_control_that_swaps_in_one_step_does_lose(tmp_path: Path) -> None:
    result = run("run_rotations", tmp_path, 2, 20, 400, "naive", timeout_s=500)
    assert result["lost"] > 0
    assert result["pings_lost"] > 0
    assert sum(found.get("XfrmInNoStates", 0) for found in result["counters"].values()) > 0


@pytest.mark.timeout(1800)
def test_five_nodes_with_a_straggler_and_one_that_restarts_lose_nothing(tmp_path: Path) -> None:
    result = run("run_rotations", tmp_path, 5, 200, 40, "staged", timeout_s=1700)
    assert result["pair_rotations"] == 200 * 20
    assert result["restarts"] >= 3 * 200
    assert [result[name] for name in ("lost", "duplicated", "pings_lost", "refused")] == [0, 0, 0, 0]


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return run("run_wire", tmp_path_factory.mktemp("wire"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_in_clear_on_the_wire(wire: dict, kind: str) -> None:
    both = {"arrived": 2 * PACKETS, "refused": 0}
    assert wire[kind]["without_sink"] == {**both, "esp": 0, "clear": 2 * PACKETS}
    assert wire[kind]["with_keys"] == {**both, "esp": 2 * PACKETS, "clear": 0}
    assert wire[kind]["restored"] == {**both, "esp": 2 * PACKETS, "clear": 0}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_without_an_association_nothing_leaves_and_nothing_is_taken(wire: dict, kind: str) -> None:
    evicted = wire[kind]["evicted_by_sender"]
    assert (evicted["arrived"], evicted["clear"]) == (0, 0)
    assert wire[kind]["cleared"] == {"arrived": 0, "refused": 2 * PACKETS, "esp": 0, "clear": 0}
    assert wire[kind]["clear_from_peer"] == {"arrived": 0, "refused": 0, "esp": 0, "clear": PACKETS}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("tunnel")])
def test_a_member_cannot_send_with_another_s_address(wire: dict, kind: str) -> None:
    assert wire[kind]["forged_source"] == {"arrived": 0, "mismatches": PACKETS}


@pytest.mark.timeout(600)
def test_ip_xfrm_shows_what_is_said_to_be_installed(wire: dict) -> None:
    shown = wire["tunnel4"]["shown"]
    assert "aead rfc4106(gcm(aes))" in shown
    assert "replay_window 128" in shown
    assert "flag esn" in shown


@pytest.mark.timeout(600)
def test_three_hundred_sources_have_an_spi_each(tmp_path: Path) -> None:
    result = run("run_sources", tmp_path, 300)
    assert (result["inbound"], result["inbound_spis"]) == (300, 300)
    assert (result["arrived_once"], result["spis_on_wire"]) == (300, 300)


@pytest.mark.timeout(1200)
def test_kills_at_random_points_leave_nothing_that_the_next_start_does_not_put_right(tmp_path: Path) -> None:
    result = run("run_kills", tmp_path, 200, 7, timeout_s=1100)
    assert result["kills"] == 200
    assert (result["refused"], result["wrong"]) == (0, [])


@pytest.mark.timeout(600)
def test_no_key_and_sequence_number_twice_across_a_reboot(tmp_path: Path) -> None:
    first = run("run_reboot", tmp_path, 1, "kept")
    second = run("run_reboot", tmp_path, 2, "kept")
    assert "in use here before" in second["refusal"]
    assert first["refusal"] == ""
    assert (len(first["wire"]), len(second["wire"])) == (100, 50)
    assert _twice(first, second) == 0
    assert second["clear"] == 0


@pytest.mark.timeout(600)
def test_the_control_without_the_ledger_uses_pairs_twice(tmp_path: Path) -> None:
    first = run("run_reboot", tmp_path, 1, "kept")
    second = run("run_reboot", tmp_path, 2, "lost")
    assert _twice(first, second) == 50


def _twice(first: dict, second: dict) -> int:
    """SPI names the key in these runs."""
    pairs = [tuple(pair) for result in (first, second) for pair in result["wire"]]
    return len(pairs) - len(set(pairs))
