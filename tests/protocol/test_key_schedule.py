"""Keys of ordered pairs: golden, and different whenever anything differs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.key_schedule import PairContext, derive_pair_key, pair_spi
from protocol.levels import ResourceClass
from tests.protocol.vectors import load

V = load("key_schedule")
SECRET = bytes.fromhex(V["secret"])


def context(case: dict) -> PairContext:
    values = {name: value for name, value in case.items() if name != "key"}
    return PairContext(
        **{**values, "resource_class": ResourceClass(case["resource_class"]), "fresh": bytes.fromhex(case["fresh"])}
    )


@pytest.mark.parametrize("case", V["pairs"])
def test_golden_keys(case: dict) -> None:
    assert derive_pair_key(SECRET, context(case)).hex() == case["key"]


def test_every_part_of_the_context_changes_the_key() -> None:
    keys = {case["key"] for case in V["pairs"]}
    assert len(keys) == len(V["pairs"])


def test_another_version_secret_gives_another_key() -> None:
    pair = context(V["pairs"][0])
    assert derive_pair_key(bytes(32), pair) != derive_pair_key(SECRET, pair)


def test_wrong_lengths_are_errors() -> None:
    pair = context(V["pairs"][0])
    with pytest.raises(ValueError, match="32 bytes"):
        derive_pair_key(SECRET[:31], pair)
    with pytest.raises(ValueError, match="16"):
        derive_pair_key(SECRET, replace(pair, fresh=b""))


def test_an_spi_names_source_and_epoch_and_is_not_a_reserved_one():
    made = {(slot, epoch): pair_spi(slot, epoch) for slot in (1, 2, 2**20 - 1) for epoch in (0, 1, 4095)}
    assert len(set(made.values())) == len(made)
    assert min(made.values()) > 255
    assert max(made.values()) < 2**32
    assert pair_spi(7, 4096) == pair_spi(7, 0)


@pytest.mark.parametrize("slot", [0, -1, 2**20])
def test_a_slot_out_of_range_has_no_spi(slot):
    with pytest.raises(ValueError, match="slot"):
        pair_spi(slot, 1)
