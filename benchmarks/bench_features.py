"""CPU time per capture and memory of each feature pipeline, on captures made on the spot or on real samples.

    python benchmarks/bench_features.py [--data ../shared/data] [--rounds 20]

Each modality runs in a process of its own and then all together, because memory is not given back.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agent.biometrics import FingerprintPipeline, Modality, Pipelines, Recording
from agent.biometrics.settings import FingerprintSettings
from agent.biometrics.template import Template
from hal import FingerprintImage, Frame

FAST = "-fast"
FAST_FINGERPRINT = Modality.FINGERPRINT + FAST
RealOrMade = Callable[[Path | None], Any]


def memory_mb() -> tuple[float, float]:
    """Resident memory now and at its peak, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def first(folder: Path) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file())


def fingerprint(data: Path | None) -> FingerprintImage:
    import cv2

    if data:
        return FingerprintImage(cv2.imread(str(first(data / "fingerprint/FVC2002_DB1_B")), 0), 500, 0, 0)
    from tests.agent.biometrics.ridges import impression

    return impression(1, 0)


def face(data: Path | None) -> list[Frame]:
    """Five frames of 640 x 480, the portrait in the middle."""
    import cv2
    from skimage import data as pictures

    picture = cv2.imread(str(first(data / "face/caltech_faces_easy"))) if data else pictures.astronaut()[:, :, ::-1]
    scale = 480 / picture.shape[0]
    picture = cv2.resize(picture, None, fx=scale, fy=scale)
    side = max(0, 640 - picture.shape[1])
    wide = cv2.copyMakeBorder(picture, 0, 0, side // 2, side - side // 2, cv2.BORDER_REPLICATE)[:480, :640]
    return [Frame(np.ascontiguousarray(wide), index, 0) for index in range(5)]


def voice(data: Path | None) -> Recording:
    if not data:
        from tests.agent.biometrics.conftest import speak

        return speak(90.0, (300.0, 870.0, 2240.0), 1.5, 0, seconds=3.0)
    import soundfile

    pcm, rate = soundfile.read(first(data / "voice/librispeech"), dtype="int16")
    return Recording(pcm[rate : 4 * rate], rate)


MAKERS: dict[Modality, RealOrMade] = {Modality.FINGERPRINT: fingerprint, Modality.FACE: face, Modality.VOICE: voice}


def timed(rounds: int, work: Callable[[], Any]) -> tuple[float, float]:
    """Median and 95th percentile of the CPU milliseconds of `work`."""
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - start))
    return float(np.median(spent)), float(np.percentile(spent, 95))


def measure(modality: Modality, pipelines: Pipelines, capture: Any, rounds: int) -> None:
    before = memory_mb()[0]
    start = time.process_time()
    pipelines.warm_up([modality])
    loading = 1000 * (time.process_time() - start)
    pipeline: Any = getattr(pipelines, modality)
    assess = timed(rounds, lambda: pipeline.assess(capture))
    extract = timed(rounds, lambda: pipeline.extract(capture))
    features = pipeline.extract(capture).features
    template = Template.of([features] * 4)
    match = timed(rounds, lambda: pipelines.match(template, features))
    now, peak = memory_mb()
    print(f"{modality:12s} load {loading:5.0f}", end="")
    for name, (median, late) in (("assess", assess), ("extract", extract), ("match", match)):
        print(f"   {name} {median:5.1f} ({late:5.1f})", end="")
    print(f"   memory +{now - before:.0f} = {now:.0f}, peak {peak:.0f}", flush=True)


def report_librosa(capture: Recording) -> None:
    """What the closer look of `voice_report` costs; not part of the daemon."""
    from agent.biometrics.voice_report import examine

    before, start = memory_mb()[0], time.process_time()
    examine(capture)
    now, peak = memory_mb()
    spent = 1000 * (time.process_time() - start)
    print(
        f"librosa      first report {spent:.0f}   memory +{now - before:.0f} = {now:.0f}, peak {peak:.0f}", flush=True
    )


def run(what: str, data: Path | None, rounds: int) -> None:
    modalities = list(Modality) if what in {"all", "librosa"} else [Modality(what.removesuffix(FAST))]
    captures = {modality: MAKERS[modality](data) for modality in modalities}
    extractor = FingerprintSettings(extractor="fast" if what.endswith(FAST) else "neural")
    pipelines = Pipelines(fingerprint=FingerprintPipeline(extractor))
    print(f"-- {what}: {memory_mb()[0]:.0f} MB before any model", flush=True)
    for modality in modalities:
        measure(modality, pipelines, captures[modality], rounds)
    if what == "librosa":
        report_librosa(captures[Modality.VOICE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--only", choices=[*Modality, FAST_FINGERPRINT, "all", "librosa"], help="measure this in the process itself"
    )
    arguments = parser.parse_args()
    if arguments.only:
        run(arguments.only, arguments.data, arguments.rounds)
        return
    print("CPU milliseconds as median (95th percentile), memory in MB")
    for what in (*Modality, FAST_FINGERPRINT, "all", "librosa"):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", what], check=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
