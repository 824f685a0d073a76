"""Merkle tree over a log's records: hashes, roots, proofs and their verification (RFC 9162 §2.1, as in RFC 6962).

Hashes are SHA-256, 32 bytes. A tree is known by the roots of its full subtrees: `Nodes(level, position)` gives the root
over the records `position·2^level` up to, and without, `(position + 1)·2^level`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

HASH_BYTES = 32
MOST_PROOF_HASHES = 128
"""More than any proof in a log of 2^63 records has."""
EMPTY_ROOT = hashlib.sha256(b"").digest()

Nodes = Callable[[int, int], bytes]


def leaf_hash(record: bytes) -> bytes:
    """Hash of one record."""
    return hashlib.sha256(b"\x00" + record).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash over two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def completed(index: int, leaf: bytes, nodes: Nodes) -> Iterator[tuple[int, int, bytes]]:
    """The full subtrees (level, position, root) that the record at `index` completes, the leaf itself first."""
    level, position, value = 0, index, leaf
    yield level, position, value
    while position & 1:
        value = node_hash(nodes(level, position - 1), value)
        level, position = level + 1, position >> 1
        yield level, position, value


def root(size: int, nodes: Nodes) -> bytes:
    """Root over the first `size` records."""
    return _subtree(0, size, nodes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The hashes that lead from the record at `index` to the root over `size` records; raises `ValueError`."""
    if not 0 <= index < size:
        raise ValueError(f"a log of {size} records has none at {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree(middle, end, nodes))
            end = middle
        else:
            path.append(_subtree(start, middle, nodes))
            start = middle
    return path[::-1]


def consistency_proof(first: int, second: int, nodes: Nodes) -> list[bytes]:
    """The hashes that show the log of `second` records to begin with the log of `first`; raises `ValueError`."""
    if not 0 < first <= second:
        raise ValueError(f"a log of {second} records does not begin with {first}")
    proof: list[bytes] = []
    start, end, whole = 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            proof.append(_subtree(middle, end, nodes))
            end = middle
        else:
            proof.append(_subtree(start, middle, nodes))
            start, whole = middle, False
    if not whole:
        proof.append(_subtree(start, end, nodes))
    return proof[::-1]


def includes(leaf: bytes, index: int, size: int, proof: Sequence[bytes], tree_root: bytes) -> bool:
    """Whether `proof` shows `leaf` at `index` under the root over `size` records (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, value = index, size - 1, leaf
    for each in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            value = node_hash(each, value)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            value = node_hash(value, each)
        position, last = position >> 1, last >> 1
    return last == 0 and value == tree_root


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the second log begins with the first (RFC 9162 §2.1.4.2); nothing follows from 0."""
    if first == second:
        return not proof and first_root == second_root
    if not 0 < first < second or not proof:
        return False
    hashes = [first_root, *proof] if first & (first - 1) == 0 else [*proof]
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old, new = node_hash(each, old), node_hash(each, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, each)
        position, last = position >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _subtree(start: int, end: int, nodes: Nodes) -> bytes:
    """Root over the records from `start` up to `end`, as the tree splits them."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return nodes(level, start >> level)
    middle = start + _split(size)
    return node_hash(_subtree(start, middle, nodes), _subtree(middle, end, nodes))


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
