"""How well an EF01 image comes through a bad serial line, unpaced, at every packet size.

    python benchmarks/bench_ef01.py [--captures 500] [--changed 0.001] [--lost 0] [--added 0] [--seed 1] [--json]

Rates are per byte and apply in both directions. The module is simulated on a pseudo-terminal; the driver is the shipped
one. `wire` is what the transfers of a capture would take on average at 57600 baud.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.ef01 import Ef01Driver, Ef01Reader
from hal import Deadline, DeviceError
from simulators.devices.ef01_model import FIELD, PACKET_SIZES, Ef01Model
from simulators.devices.serial_line import SerialLine
from simulators.devices.serial_wire import LineNoise

BAUD, BITS, FRAMING, ACKNOWLEDGEMENT = 57_600, 10, 11, 12


@dataclass(frozen=True)
class Outcome:
    """Captures of one packet size: how many were exact, were wrong without notice, or failed with an error."""

    packet_bytes: int
    exact: int
    wrong: int
    failed: int
    mean_transfers: float
    most_transfers: int
    mean_ms: float
    wire_seconds: float


def measure(packet_bytes: int, captures: int, noise: LineNoise, seed: int) -> Outcome:
    """`captures` images of another finger each."""
    random = np.random.default_rng(seed)
    model = Ef01Model(packet_bytes=packet_bytes, seed=seed)
    ends: Counter[str] = Counter()
    transfers, milliseconds = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        SerialLine(model, Path(folder) / "reader") as line,
        Ef01Driver().open({"port": str(line.link), "settle_ms": 0}) as reader,
    ):
        line.noise = noise
        for _ in range(captures):
            picture = random.integers(0, 16, (FIELD.height, FIELD.width)).astype(np.uint8) * np.uint8(17)
            model.place(picture, FIELD.dpi)
            began = time.perf_counter()
            ends[attempt(reader, picture)] += 1
            milliseconds.append(1000 * (time.perf_counter() - began))
            transfers.append(reader.transfers)
    mean = float(np.mean(transfers))
    wire = ACKNOWLEDGEMENT + FIELD.height * FIELD.width // 2 // packet_bytes * (packet_bytes + FRAMING)
    return Outcome(
        packet_bytes,
        ends["exact"],
        ends["wrong"],
        ends["failed"],
        mean,
        max(transfers),
        float(np.mean(milliseconds)),
        mean * wire * BITS / BAUD,
    )


def attempt(reader: Ef01Reader, picture: NDArray[np.uint8]) -> str:
    """How one capture ended: "exact", "wrong" or "failed"."""
    try:
        return "exact" if np.array_equal(reader.capture(Deadline.after(30)).pixels, picture) else "wrong"
    except DeviceError:
        return "failed"


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--captures", type=int, default=500)
    parser.add_argument("--changed", type=float, default=0.001)
    parser.add_argument("--lost", type=float, default=0.0)
    parser.add_argument("--added", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    outcomes = [
        measure(size, chosen.captures, LineNoise(chosen.changed, chosen.lost, chosen.added, chosen.seed), chosen.seed)
        for size in PACKET_SIZES
    ]
    if chosen.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
        return
    print("packet  exact  wrong  failed  transfers (mean, most)  ms  wire s")
    for one in outcomes:
        print(
            f"{one.packet_bytes:6d} {one.exact:6d} {one.wrong:6d} {one.failed:7d}"
            f" {one.mean_transfers:16.2f} {one.most_transfers:6d} {one.mean_ms:4.0f} {one.wire_seconds:6.1f}"
        )


if __name__ == "__main__":
    main()
