"""A process that drives the PortAudio driver on command, and the test's end of it.

PortAudio reads the ALSA configuration once per process, so a microphone's environment has to be set before. Commands
and answers are lines of JSON; recordings go into files.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from drivers.portaudio import PortAudioDriver
from hal import AudioBlock, Deadline, Device, DeviceError
from tests.on_time import Watch

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """What the process does; each method is a command and returns its answer."""

    def __init__(self) -> None:
        self._driver = PortAudioDriver()
        self._microphone: Any = None
        self._blocks: Iterator[AudioBlock] | None = None

    def list(self) -> dict[str, Any]:
        return {"names": [info.name for info in self._driver.list({})]}

    def open(self, options: dict[str, Any], seconds: float) -> dict[str, Any]:
        self._microphone = self._driver.open(options, Deadline.after(seconds))
        info = self._microphone.info
        described = [info.kind, info.transport, sorted(info.capabilities)]
        return {"device": isinstance(self._microphone, Device), "info": described}

    def listed(self) -> dict[str, Any]:
        return {"listed": self._microphone.info in self._driver.list({})}

    def start(self, seconds: float) -> dict[str, Any]:
        """Begin recording: the first block."""
        self._blocks = self._microphone.blocks(Deadline.after(seconds))
        return {"samples": len(next(self._blocks).pcm)}

    def record(self, samples: int, path: str = "") -> dict[str, Any]:
        """Go on recording; what was heard goes to `path`."""
        assert self._blocks is not None
        taken: list[AudioBlock] = []
        count = 0
        while count < samples:
            taken.append(next(self._blocks))
            count += len(taken[-1].pcm)
        if path:
            np.concatenate([block.pcm for block in taken]).astype("<i2").tofile(path)
        times = [block.captured_ns for block in taken]
        return {
            "samples": count,
            "rates": sorted({block.rate for block in taken}),
            "sequence": [taken[0].sequence, taken[-1].sequence, len(taken)],
            "rising": times == sorted(set(times)),
            "age": (time.monotonic_ns() - times[-1]) / 1e9,
            "overflows": sum(block.overflow for block in taken),
        }

    def close(self) -> dict[str, Any]:
        self._blocks = None
        if self._microphone is not None:
            self._microphone.close()
            self._microphone.close()
        return {}

    def twice(self, options: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Open twice at once."""
        with self._driver.open(options, Deadline.after(seconds)), self._driver.open(options, Deadline.after(seconds)):
            return {}

    def cycles(self, options: dict[str, Any], count: int) -> dict[str, Any]:
        """Open, record a block and close `count` times: threads and descriptors before and after."""
        before = None
        for _ in range(count + 3):
            with self._driver.open(options) as microphone:
                next(iter(microphone.blocks(Deadline.after(10))))
            gc.collect()
            after = self._held()
            before = before or after
        with suppress(IndexError):
            patience = Deadline.after(10)
            while after != before and patience.remaining():
                after = self._held()
        return {"before": before, "after": after}

    @staticmethod
    def _held() -> list[int]:
        return [threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))]


def answer(worker: Worker, command: dict[str, Any]) -> dict[str, Any]:
    """Do a command: what it found, or the error it met, and the seconds it took, without what the machine withheld."""
    with Watch() as watch:
        try:
            found = getattr(worker, command.pop("do"))(**command)
        except DeviceError as error:
            found = {"error": type(error).__name__, "text": str(error), "remedy": error.remedy}
    return {**found, "spent": watch.net}


def main() -> None:
    """Serve commands until the input ends."""
    worker = Worker()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(worker, json.loads(line))) + "\n")
        sys.stdout.flush()


class MicrophoneProcess:
    """The test's end: a context manager over such a process."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.drivers.microphone_process"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have a command done; its answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the process ended: {Path(self._log.name).read_text()[-2000:]}"
        found: dict[str, Any] = json.loads(line)
        return found

    def well(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have a command done that must not fail."""
        found = self.ask(do, **arguments)
        assert "error" not in found, found
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It must end by itself once there is nothing more to do."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()
            self._log.close()
        assert code == 0 or error is not None, f"{code}: {Path(self._log.name).read_text()[-2000:]}"


if __name__ == "__main__":
    main()
