"""Shamir's scheme (1979) with threshold two, byte by byte over GF(256) with the polynomial 0x11b."""

from __future__ import annotations

from collections.abc import Sequence

_POLYNOMIAL = 0x11B


def xor(one: bytes, other: bytes) -> bytes:
    """`one` xor `other`, of equal length; raises `ValueError` else."""
    if len(one) != len(other):
        raise ValueError("two byte strings of different lengths cannot be added")
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def line(start: bytes, slope: bytes, places: Sequence[int]) -> list[bytes]:
    """The values of `start + slope x` at each of `places` (1 to 255): shares of `start` if `slope` is random."""
    if len(set(places)) != len(places) or not all(1 <= place <= 255 for place in places):
        raise ValueError("shares need different places from 1 to 255")
    return [xor(start, _times(slope, place)) for place in places]


def joined(one: tuple[int, bytes], other: tuple[int, bytes]) -> bytes:
    """The secret of two shares, each with its place: Lagrange interpolation at zero."""
    (at, share), (beyond, second) = one, other
    if at == beyond:
        raise ValueError("two shares of one place make no secret")
    scale = _inverse(at ^ beyond)
    return xor(_times(share, _product(beyond, scale)), _times(second, _product(at, scale)))


def _times(values: bytes, factor: int) -> bytes:
    return bytes(_product(value, factor) for value in values)


def _product(one: int, other: int) -> int:
    """The product of two elements, in the same steps for all values."""
    result = 0
    for bit in range(7, -1, -1):
        result = (result << 1) ^ (_POLYNOMIAL * (result >> 7 & 1))
        result ^= one * (other >> bit & 1)
    return result


def _inverse(element: int) -> int:
    """element ** 254, which is its inverse."""
    power, result = element, 1
    for _ in range(7):
        power = _product(power, power)
        result = _product(result, power)
    return result
