"""Keys of ordered pairs: golden, and different whenever anything differs."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize("case", V["spis"], ids=lambda case: f"{case['slot']}-{case['epoch']}")
def test_golden_spis(case: dict) -> None:
    assert pair_spi(case["slot"], case["epoch"]) == case["spi"]


def prefixed(*parts: bytes | str | int) -> bytes:
    """A second writing of the length-prefixed form."""
    raws = [part.to_bytes(8, "big") if isinstance(part, int) else part for part in parts]
    raws = [raw.encode() if isinstance(raw, str) else raw for raw in raws]
    return b"".join(len(raw).to_bytes(4, "big") + raw for raw in raws)


def second_hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 for one block of output, from nothing but HMAC: an empty salt stands for 32 zeros (section 2.2)."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def test_the_second_implementation_gives_what_the_standard_says() -> None:
    """RFC 5869, A.3: no salt, no info; the first block of its output."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert second_hkdf(b"\x0b" * 22, b"").hex() == expected


numbers = st.integers(0, 2**63 - 1)
names = st.text("abcdef0123456789", min_size=1, max_size=64)


@given(
    st.binary(min_size=32, max_size=32),
    st.builds(
        PairContext,
        network=names,
        version=numbers,
        source=names,
        destination=names,
        resource_class=st.sampled_from(ResourceClass),
        epoch=numbers,
        generation=numbers,
        fresh=st.binary(min_size=16, max_size=16),
    ),
)
def test_a_second_implementation_gives_the_same_keys(secret: bytes, pair: PairContext) -> None:
    parts = (pair.network, pair.version, pair.source, pair.destination, pair.resource_class.value)
    info = prefixed("keyvigil/pair-key/1", *parts, pair.epoch, pair.generation, pair.fresh)
    assert derive_pair_key(secret, pair) == second_hkdf(secret, info)


@given(st.integers(1, 2**20 - 1), st.integers(1, 2**20 - 1), st.integers(0, 2**40), st.integers(0, 2**40))
def test_two_sources_never_share_an_spi_and_one_only_4096_epochs_apart(a: int, b: int, m: int, n: int) -> None:
    assert (pair_spi(a, m) == pair_spi(b, n)) is (a == b and m % 4096 == n % 4096)
