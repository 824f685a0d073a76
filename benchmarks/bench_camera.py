"""How many frames reach a program from a simulated V4L2 camera, and whether all of them are whole.

    python benchmarks/bench_camera.py [--frames 1000] [--fps 30] [--formats GREY YUYV MJPG] [--json]

Three programs per format, each in a process of its own under umockdev: an unmodified `cv2.VideoCapture`, an unmodified
`v4l2-ctl --stream-mmap` (uncompressed formats, its raw frames read through a pipe), and our driver. Per run: frames,
frames a second, torn (a row disagrees about the frame's number), lost (numbers missing between first and last),
milliseconds from exposure until the program had the frame (median, where it can tell).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from drivers.opencv_camera import OpenCvCameraDriver
from hal import Deadline
from simulators.devices.v4l2 import V4l2Testbed, read_number

HEIGHT, WIDTH = 480, 640
RAW = {"GREY": (HEIGHT, WIDTH), "YUYV": (HEIGHT, WIDTH, 2)}
Row = tuple[int | None, float, float | None]
"""The frame's number, when the program had it, seconds since its exposure."""


def opencv(frames: int) -> list[Row]:
    capture = cv2.VideoCapture("/dev/video0", cv2.CAP_V4L2)
    rows: list[Row] = []
    for _ in range(frames):
        good, picture = capture.read()
        now = time.monotonic()
        rows.append((read_number(picture) if good else None, now, now - capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3))
    return rows


def ours(frames: int) -> list[Row]:
    rows: list[Row] = []
    with OpenCvCameraDriver().open({"source": "/dev/video0", "settle_seconds": 0.0}) as camera:
        for _ in range(frames):
            frame = camera.read(Deadline.after(5))
            now = time.monotonic()
            number = read_number(frame.bgr)
            rows.append((number if number == frame.sequence else None, now, now - frame.captured_ns / 1e9))
    return rows


INSIDE: dict[str, Callable[[int], list[Row]]] = {"cv2.VideoCapture": opencv, "our driver": ours}


def inside(bed: V4l2Testbed, program: str, frames: int) -> list[Row]:
    run = bed.run([sys.executable, __file__, "--inside", program, "--frames", str(frames)], stdout=subprocess.PIPE)
    return [tuple(row) for row in json.loads(run.stdout)]


def v4l2_ctl(bed: V4l2Testbed, fourcc: str, frames: int) -> list[Row]:
    command = ["v4l2-ctl", "--stream-mmap", f"--stream-count={frames}", "--stream-to=-"]
    shape = RAW[fourcc]
    size = int(np.prod(shape))
    rows: list[Row] = []
    with bed.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        while len(raw := program.stdout.read(size)) == size:
            luma = np.frombuffer(raw, np.uint8).reshape(shape)
            rows.append((read_number(luma if luma.ndim == 2 else luma[:, :, 0]), time.monotonic(), None))
    return rows


def figures(rows: list[Row]) -> dict[str, Any]:
    numbers = [number for number, _, _ in rows if number is not None]
    ages = [age for _, _, age in rows if age is not None]
    gaps = [other - one for one, other in itertools.pairwise(numbers)]
    return {
        "frames": len(rows),
        "fps": round((len(rows) - 1) / (rows[-1][1] - rows[0][1]), 2),
        "torn": len(rows) - len(numbers),
        "lost": sum(gap - 1 for gap in gaps if gap > 1),
        "out of order": sum(gap <= 0 for gap in gaps),
        "ms from exposure": round(1e3 * statistics.median(ages), 1) if ages else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--fps", type=float, default=30)
    parser.add_argument("--formats", nargs="+", default=["GREY", "YUYV", "MJPG"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--inside", choices=INSIDE, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        sys.stdout.write(json.dumps(INSIDE[chosen.inside](chosen.frames)))
        return
    results = {}
    for fourcc in chosen.formats:
        with V4l2Testbed(fourcc, (HEIGHT, WIDTH), chosen.fps, instant=True) as bed:
            for program in INSIDE:
                results[f"{fourcc}, {program}"] = figures(inside(bed, program, chosen.frames))
            if fourcc in RAW:
                results[f"{fourcc}, v4l2-ctl"] = figures(v4l2_ctl(bed, fourcc, chosen.frames))
    if chosen.json:
        print(json.dumps(results, indent=2))
        return
    for name, row in results.items():
        print(f"{name:24}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
