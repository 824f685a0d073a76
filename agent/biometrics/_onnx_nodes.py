"""The first operations of an ONNX file, read from its bytes: onnxruntime does not tell them.

A model is a Protocol Buffers message: its graph is field 7, in which field 1 is a node, of which field 4 is the
operation (onnx/onnx.proto). Nothing else is looked at, and whatever is not of that form ends the reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

_GRAPH, _NODE, _OPERATION = 7, 1, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def first_operations(model: bytes, count: int) -> list[str]:
    """The names of the first `count` operations; fewer, or none, where the bytes hold no more."""
    view = memoryview(model)
    nodes = (node for graph in _fields(view, _GRAPH) for node in _fields(graph, _NODE))
    names = (name for node in nodes for name in _fields(node, _OPERATION))
    return [bytes(name).decode("ascii", "replace") for name in islice(names, count)]


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The contents of every field `wanted` that has a length."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        length = {_FIXED64: 8, _FIXED32: 4, _VARINT: 0}.get(kind)
        if kind in {_VARINT, _BYTES}:
            value, at = _varint(message, at)
            length = value if kind == _BYTES else 0
        if length is None or at + length > len(message):
            return
        if kind == _BYTES and key >> 3 == wanted:
            yield message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return value, at
