"""CPU time of descrambling a U.are.U frame, beside a plain loop over the shift register.

    python benchmarks/bench_descramble.py [--frames 100]

The frames are those of the reader's model: 289 lines in blocks of every kind, each under keys of its own. Every pixel
of every frame is compared with what lay on the sensor.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from drivers.uru4000_image import HEADER_BYTES, WIDTH, decode_image, keystream
from simulators.devices.uru4000_model import FIELD, Uru4000Model
from simulators.devices.usb import Setup, Transfer

MODE, STATUS, SCRAMBLE_INDEX, SCRAMBLE_KEY = 0x4E, 0x07, 0x33, 0x34
BUDGET_MS = 10.0


def write(model: Uru4000Model, register: int, data: bytes) -> None:
    model.control(Setup(0x40, 4, register, 0, len(data)), data)


def key(model: Uru4000Model, number: int) -> int:
    """Scrambling key `number`, asked for under the seed 0."""
    write(model, SCRAMBLE_INDEX, struct.pack("<BI", number, 0))
    return int.from_bytes(model.control(Setup(0xC0, 4, SCRAMBLE_KEY, 0, 4), b""), "little")


def picture(seed: int) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (FIELD.height, FIELD.width), np.uint8)
    pixels[[0, -1]] = 255
    pixels[:, [0, -1]] = 255
    return pixels


def frame(seed: int) -> tuple[Uru4000Model, bytes]:
    """A model and the message of one image of it."""
    model, sent = Uru4000Model(seed=seed), []
    write(model, STATUS, b"\x01")
    model.place(picture(seed), FIELD.dpi)
    model.submit(0x82, Transfer(1 << 20, lambda _status, data: sent.append(data)))
    write(model, MODE, b"\x20")
    return model, sent[0]


def plain_keystream(start: int, count: int) -> bytes:
    """The register step by step, as its description reads."""
    stream = bytearray()
    for _ in range(count):
        stream.append(sum((start >> bit & 1) << place for place, bit in enumerate((4, 8, 11, 14, 18, 21, 24, 29))))
        start = start >> 1 | ((start & 0x9248144D).bit_count() & 1) << 31
    return bytes(stream)


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--frames", type=int, default=100)
    count = arguments.parse_args().frames
    first = cpu_ms(lambda: keystream(1, 1))
    spent = []
    for seed in range(count):
        model, message = frame(seed)
        keys = {number: key(model, number) for number in (message[6], (message[6] + 1) % 256)}
        spent.append(cpu_ms(lambda message=message, keys=keys: decode_image(message, keys.__getitem__)))
        if not np.array_equal(decode_image(message, keys.__getitem__), picture(seed)):
            raise SystemExit(f"frame {seed} was not descrambled exactly")
    scrambled = (len(message) - HEADER_BYTES) // WIDTH
    loop = np.median([cpu_ms(lambda: plain_keystream(0xDEADBEEF, scrambled * WIDTH)) for _ in range(5)])
    p50, p95 = np.percentile(spent, (50, 95))
    print(
        f"{count} frames exact; CPU p50 {p50:.2f} ms, p95 {p95:.2f} ms, worst {max(spent):.2f} ms (budget {BUDGET_MS})"
    )
    print(f"tables, once per process: {first:.0f} ms; a plain loop: {loop:.0f} ms, {loop / p50:.0f} times as long")


if __name__ == "__main__":
    main()
