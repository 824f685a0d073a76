"""The log's tree against the definitions of RFC 9162 §2.1 written down naively, and against published roots."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.merkle import (
    EMPTY_ROOT,
    completed,
    consistency_proof,
    includes,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    root,
)

PUBLISHED_RECORDS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
PUBLISHED_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}
"""Roots of Certificate Transparency's own test tree."""


class Tree:
    """The nodes of a log, kept as the authority keeps them."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self.kept: dict[tuple[int, int], bytes] = {}
        for index, record in enumerate(records):
            for level, position, value in completed(index, leaf_hash(record), self.node):
                self.kept[level, position] = value

    def node(self, level: int, position: int) -> bytes:
        return self.kept[level, position]


def naive_root(records: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1."""
    if not records:
        return hashlib.sha256().digest()
    if len(records) == 1:
        return hashlib.sha256(b"\x00" + records[0]).digest()
    split = naive_split(len(records))
    return hashlib.sha256(b"\x01" + naive_root(records[:split]) + naive_root(records[split:])).digest()


def naive_split(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split


def naive_path(index: int, records: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 9162 §2.1.3.1."""
    if len(records) == 1:
        return []
    split = naive_split(len(records))
    if index < split:
        return [*naive_path(index, records[:split]), naive_root(records[split:])]
    return [*naive_path(index - split, records[split:]), naive_root(records[:split])]


def naive_subproof(first: int, records: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162 §2.1.4.1."""
    if first == len(records):
        return [] if whole else [naive_root(records)]
    split = naive_split(len(records))
    if first <= split:
        return [*naive_subproof(first, records[:split], whole), naive_root(records[split:])]
    return [*naive_subproof(first - split, records[split:], False), naive_root(records[:split])]


def sample(count: int, salt: str = "") -> list[bytes]:
    return [f"{salt}{index}".encode() for index in range(count)]


def test_the_published_roots() -> None:
    records = [bytes.fromhex(text) for text in PUBLISHED_RECORDS]
    for size, wanted in PUBLISHED_ROOTS.items():
        assert root(size, Tree(records[:size]).node).hex() == wanted
    assert root(0, Tree([]).node) == EMPTY_ROOT


@given(st.integers(1, 400), st.data())
@settings(max_examples=60, deadline=None)
def test_roots_and_proofs_are_those_of_the_definitions(count: int, data: st.DataObject) -> None:
    records, tree = sample(count), Tree(sample(400))
    index, first = data.draw(st.integers(0, count - 1)), data.draw(st.integers(1, count))
    assert root(count, tree.node) == naive_root(records)
    assert inclusion_proof(index, count, tree.node) == naive_path(index, records)
    assert consistency_proof(first, count, tree.node) == naive_subproof(first, records, True)


def test_every_proof_of_every_small_tree_holds() -> None:
    tree = Tree(sample(40))
    for size in range(1, 41):
        top = root(size, tree.node)
        for index in range(size):
            leaf = leaf_hash(sample(40)[index])
            assert includes(leaf, index, size, inclusion_proof(index, size, tree.node), top)
        for first in range(1, size + 1):
            proof = consistency_proof(first, size, tree.node)
            assert is_consistent(first, root(first, tree.node), size, top, proof)


@given(st.integers(2, 300), st.data())
@settings(max_examples=150, deadline=None)
def test_a_proof_shows_nothing_else(count: int, data: st.DataObject) -> None:
    tree = Tree(sample(count))
    index, top = data.draw(st.integers(0, count - 1)), root(count, tree.node)
    leaf, path = leaf_hash(sample(count)[index]), inclusion_proof(index, count, tree.node)
    assert includes(leaf, index, count, path, top)
    assert not includes(leaf_hash(b"another"), index, count, path, top)
    assert not includes(leaf, (index + 1) % count, count, path, top)
    assert not includes(leaf, index, count, path, EMPTY_ROOT)
    assert not includes(leaf, index, count, [*path, top], top)
    assert not includes(leaf, index, count, path[:-1], top)
    at = data.draw(st.integers(0, len(path) - 1))
    assert not includes(leaf, index, count, [*path[:at], bytes(32), *path[at + 1 :]], top)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 299), st.data())
@settings(max_examples=150, deadline=None)
def test_a_forked_log_cannot_be_shown_consistent(first: int, more: int, at: int, data: st.DataObject) -> None:
    """Whatever of both logs' own nodes is handed over as a proof: one record of the first log was rewritten."""
    records = sample(first + more)
    forked = [*records]
    forked[at % first] = b"rewritten"
    honest, other = Tree(records), Tree(forked)
    held, new = root(first, honest.node), root(first + more, other.node)
    proofs = [consistency_proof(first, first + more, tree.node) for tree in (honest, other)]
    pool = [*honest.kept.values(), *other.kept.values(), held, new]
    proofs.append(data.draw(st.lists(st.sampled_from(pool), max_size=12)))
    assert not any(is_consistent(first, held, first + more, new, proof) for proof in proofs)
    assert is_consistent(first, root(first, other.node), first + more, new, proofs[1])


@given(st.integers(2, 200), st.data())
@settings(max_examples=60, deadline=None)
def test_a_log_does_not_shrink_consistently(count: int, data: st.DataObject) -> None:
    tree = Tree(sample(count))
    smaller = data.draw(st.integers(1, count - 1))
    proof = consistency_proof(smaller, count, tree.node)
    assert not is_consistent(count, root(count, tree.node), smaller, root(smaller, tree.node), proof)
    assert not is_consistent(0, EMPTY_ROOT, count, root(count, tree.node), proof)
    assert not is_consistent(count, root(count, tree.node), count, EMPTY_ROOT, [])


@pytest.mark.parametrize(("first", "second"), [(0, 3), (4, 3), (-1, 3)])
def test_there_is_no_proof_for_what_is_not_there(first: int, second: int) -> None:
    tree = Tree(sample(3))
    with pytest.raises(ValueError, match="records"):
        consistency_proof(first, second, tree.node)
    with pytest.raises(ValueError, match="records"):
        inclusion_proof(3, 3, tree.node)
