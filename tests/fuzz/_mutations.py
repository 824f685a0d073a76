"""Mutations without coverage guidance: quick, repeatable, and good for a smoke test."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_EXTREMES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x00\x00",
    b"\xff\xff",
    b"\x80\x00",
    b"\x00\x00\x00\x00",
    b"\xff" * 4,
)


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` inputs: seeds with one to eight changes each, and now and then bytes that resemble nothing."""
    chance = random.Random(seed)
    for _ in range(count):
        if chance.random() < 0.05:
            yield chance.randbytes(chance.randrange(256))
            continue
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            _change(data, chance, seeds)
        yield bytes(data)


def _change(data: bytearray, chance: random.Random, seeds: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(6):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(data):
            data[at] = chance.randrange(256)
        case 2:
            extreme = chance.choice(_EXTREMES)
            data[at : at + len(extreme)] = extreme
        case 3:
            del data[at : at + chance.randint(1, 16)]
        case 4:
            data[at:at] = chance.randbytes(chance.randint(1, 16))
        case _:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            data[at:] = other[start:]
