"""The microphone contract over ALSA configuration, through the real PortAudio.

PortAudio reads the ALSA configuration once per process, so the real driver runs in a process of its own: the functions
named `play_*` are what that process does, and print what they found as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.portaudio import PortAudioDriver
from drivers.portaudio._backend import require_alsa_configuration
from hal import (
    AudioBlock,
    Deadline,
    DeviceError,
    DeviceKind,
    TimedOut,
    Transport,
)
from simulators.devices.alsa_microphone import LEAD_SECONDS, RATE, AlsaMicrophone, LiveAlsaMicrophone
from tests.on_time import MARGIN_S, Watch

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"device": AlsaMicrophone.device}
PR_SET_MDWE = 65
LEAD = int(LEAD_SECONDS * RATE)


def soon() -> Deadline:
    return Deadline.after(5.0)


def speech(seconds: float = 1.0, seed: int = 7) -> np.ndarray:
    """Noise over the full range: any lost, doubled or altered sample shows."""
    return np.random.default_rng(seed).integers(-32768, 32767, int(seconds * RATE), dtype=np.int16)


def recorded(blocks: Iterator[AudioBlock], samples: int) -> list[AudioBlock]:
    taken: list[AudioBlock] = []
    for block in blocks:
        taken.append(block)
        if sum(len(block.pcm) for block in taken) >= samples:
            break
    return taken


def joined(blocks: list[AudioBlock]) -> np.ndarray:
    return np.concatenate([block.pcm for block in blocks])


# What the recording process does.


def answer(**found: object) -> None:
    sys.stdout.write(json.dumps(found))


def play_record(samples: int, path: str, times: int = 1) -> None:
    """Record `times` times, each from a fresh opening, and keep the last recording in `path`."""
    driver = PortAudioDriver()
    for _ in range(times):
        with driver.open(OPTIONS) as microphone:
            blocks = recorded(microphone.blocks(Deadline.after(30)), samples)
    joined(blocks).astype("<i2").tofile(path)
    answer(
        info=[microphone.info in driver.list({}), microphone.info.kind, microphone.info.transport],
        sequence=[block.sequence for block in blocks],
        captured_ns=[block.captured_ns for block in blocks],
        lengths=sorted({len(block.pcm) for block in blocks}),
        overflows=sum(block.overflow for block in blocks),
    )


def play_cycles(count: int) -> None:
    """Open, record one block and close `count` times; print threads and descriptors before and after."""
    driver = PortAudioDriver()
    before = None
    for _ in range(count + 1):
        with driver.open(OPTIONS) as microphone:
            next(microphone.blocks(soon()))
        after = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
        before = before or after
    answer(before=before, after=after)


def play_until_error(seconds: float) -> None:
    """Record until an error ends it; print the error and the time that it took, without what the machine withheld."""
    watch = Watch()
    try:
        with PortAudioDriver().open(OPTIONS) as microphone, watch:
            for _ in microphone.blocks(Deadline.after(seconds)):
                pass
    except DeviceError as error:
        answer(error=type(error).__name__, spent=watch.net, remedy=error.remedy)


def play_stall_and_reopen(folder: str) -> None:
    """Let the microphone stall while it records, then record again in the same process."""
    with LiveAlsaMicrophone(Path(folder), speed=20) as live:
        os.environ.update(live.environment())
        with PortAudioDriver().open(OPTIONS) as microphone:
            blocks = microphone.blocks(Deadline.after(30))
            next(blocks)
            live.stall()
            try:
                recorded(blocks, 30 * RATE)
            except TimedOut:
                live.resume()
                again = recorded(microphone.blocks(Deadline.after(30)), RATE)
    answer(samples=len(joined(again)))


def play_missing() -> None:
    try:
        PortAudioDriver().open({"device": "no such microphone"})
    except DeviceError as error:
        answer(error=type(error).__name__, text=str(error), remedy=error.remedy)


def play_without_code_at_run_time(forbidden: bool) -> None:
    """As under `MemoryDenyWriteExecute=`: from Linux 6.3 on a process can forbid it to itself."""
    if forbidden and ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0:
        answer(error="")
        return
    play_until_error(0.3)


def run(environment: dict[str, str], play: Callable[..., None], *arguments: object) -> dict[str, Any]:
    """Run `play` in a process with the microphone's environment; it must end by itself, quietly."""
    call = f"from tests.drivers import test_portaudio as t; t.{play.__name__}(*{arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# The contract, through the real PortAudio and libasound.


@pytest.fixture
def microphone(tmp_path: Path) -> AlsaMicrophone:
    return AlsaMicrophone(tmp_path / "microphone")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveAlsaMicrophone]:
    with LiveAlsaMicrophone(tmp_path / "microphone", speed=20) as live:
        yield live


def test_speech_arrives_identical_to_the_bit(microphone: AlsaMicrophone, tmp_path: Path) -> None:
    said = speech()
    microphone.speak(said)
    found = run(microphone.environment(), play_record, LEAD + len(said) + RATE, str(tmp_path / "heard"))
    heard = np.fromfile(tmp_path / "heard", "<i2")
    assert np.array_equal(heard[LEAD : LEAD + len(said)], said)
    assert np.abs(heard[:LEAD]).max() < 100 and np.abs(heard[LEAD + len(said) :]).max() < 100
    assert found["info"] == [True, DeviceKind.MICROPHONE, Transport.VIRTUAL]
    assert found["sequence"] == list(range(1, len(found["sequence"]) + 1))
    assert found["captured_ns"] == sorted(set(found["captured_ns"]))
    assert found["lengths"] == [320]
    assert found["overflows"] == 0


def test_what_follows_the_end_is_room_noise(microphone: AlsaMicrophone, tmp_path: Path) -> None:
    microphone.speak(speech(0.1))
    run(microphone.environment(), play_record, 20 * RATE, str(tmp_path / "heard"))
    after = np.fromfile(tmp_path / "heard", "<i2")[LEAD + RATE // 10 :]
    assert len(after) > 19 * RATE
    assert 0 < np.abs(after).max() < 100


def test_every_opening_hears_the_speech_from_its_start(microphone: AlsaMicrophone, tmp_path: Path) -> None:
    said = speech(0.2)
    microphone.speak(said)
    run(microphone.environment(), play_record, LEAD + len(said), str(tmp_path / "heard"), 3)
    assert np.array_equal(np.fromfile(tmp_path / "heard", "<i2")[LEAD : LEAD + len(said)], said)


def test_twenty_cycles_leave_no_thread_and_no_descriptor(microphone: AlsaMicrophone) -> None:
    found = run(microphone.environment(), play_cycles, 20)
    assert found["after"] == found["before"]


def test_deadline_ends_an_endless_recording_on_time(microphone: AlsaMicrophone) -> None:
    found = run(microphone.environment(), play_until_error, 0.3)
    assert found["error"] == "TimedOut"
    assert found["spent"] <= 1.1 * 0.3 + MARGIN_S


def test_missing_microphone_names_those_found(microphone: AlsaMicrophone) -> None:
    found = run(microphone.environment(), play_missing)
    assert found["error"] == "NotFound"
    assert "keyvigil-sim" in found["text"]


def test_a_unit_that_forbids_code_made_at_run_time_is_told_how_to_allow_it(microphone: AlsaMicrophone) -> None:
    found = run(microphone.environment(), play_without_code_at_run_time, True)
    if not found["error"]:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert found["error"] == "PermissionDenied"
    assert "microphone.conf" in found["remedy"]
    assert run(microphone.environment(), play_without_code_at_run_time, False)["error"] == "TimedOut"


@pytest.mark.parametrize(("name", "said"), [("nosuch", "no readable file"), ("empty", "ends every program")])
def test_an_alsa_configuration_that_ends_portaudio_does_not_end_us(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "empty").touch()
    broken = {"ALSA_CONFIG_PATH": str(tmp_path / name)}
    found = run(broken, play_missing)
    assert (found["error"], said in found["text"]) == ("Unsupported", True)
    assert "ALSA" in found["remedy"]
    control = subprocess.run([sys.executable, "-c", "import sounddevice"], env={**os.environ, **broken}, check=False)
    assert control.returncode < 0, "it ends whoever loads it unguarded"


@pytest.mark.parametrize("also", ["", ":/nonexistent", "/nonexistent:"])
def test_one_readable_part_of_the_alsa_configuration_is_enough(microphone: AlsaMicrophone, also: str) -> None:
    path = microphone.environment()["ALSA_CONFIG_PATH"]
    require_alsa_configuration(also + path if also.endswith(":") else path + also)


def test_live_microphone_delivers_speech_in_one_piece(live: LiveAlsaMicrophone, tmp_path: Path) -> None:
    said = speech()
    live.speak(said)
    found = run(live.environment(), play_record, LEAD + len(said) + RATE // 2, str(tmp_path / "heard"))
    heard = np.fromfile(tmp_path / "heard", "<i2").astype("<i2").tobytes()
    assert said.tobytes() in heard
    assert found["overflows"] == 0
    assert not live.speaking


def test_stalled_microphone_times_out_and_lets_the_process_end(live: LiveAlsaMicrophone) -> None:
    live.stall()
    found = run(live.environment(), play_until_error, 30.0)
    assert found["error"] == "TimedOut"
    # A second of nothing, and at most one more to let go of the device.
    assert found["spent"] < 5.0


@pytest.mark.slow
def test_microphone_opens_again_after_a_stall(tmp_path: Path) -> None:
    assert run({}, play_stall_and_reopen, str(tmp_path))["samples"] >= RATE


@pytest.mark.hardware
def test_real_microphone() -> None:
    name = os.environ.get("KEYVIGIL_MICROPHONE")
    if not name:
        pytest.skip("no microphone named: set KEYVIGIL_MICROPHONE")
    with PortAudioDriver().open({"device": name}) as microphone:
        blocks = recorded(microphone.blocks(Deadline.after(10)), 2 * RATE)
    assert joined(blocks).std() > 0
    assert not any(block.overflow for block in blocks)
