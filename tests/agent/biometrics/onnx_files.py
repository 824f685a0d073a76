"""Small ONNX files, written without the onnx package: the mean colour of a picture times a matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FLOAT = 1


def field(number: int, value: int | bytes | str) -> bytes:
    """One field of a Protocol Buffers message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(field(1, size) for size in values.shape)
    return dims + field(2, FLOAT) + field(8, name) + field(9, values.astype("<f4").tobytes())


def value(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


def node(operation: str, inputs: Sequence[str], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operation)


def mean_colour(weights: np.ndarray, side: int = 112, *, centred: bool = False, planes: int = 3) -> bytes:
    """A network from `[1, planes, side, side]` to the mean colour times `weights`, `[planes, n]`.

    `centred`: the network subtracts 127.5 and divides by 128 itself, as some that are published do.
    """
    constants = [tensor("w", weights), tensor("c", np.array(127.5)), tensor("s", np.array(1 / 128))]
    own = [node("Sub", ["data", "c"], "d"), node("Mul", ["d", "s"], "x")] if centred else []
    nodes = [
        *own,
        node("GlobalAveragePool", ["x" if centred else "data"], "p"),
        node("Flatten", ["p"], "f"),
        node("MatMul", ["f", "w"], "out"),
    ]
    used = constants if centred else constants[:1]
    graph = b"".join(field(1, each) for each in nodes) + field(2, "g") + b"".join(field(5, each) for each in used)
    graph += field(11, value("data", (1, planes, side, side))) + field(12, value("out", (1, weights.shape[1])))
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))
