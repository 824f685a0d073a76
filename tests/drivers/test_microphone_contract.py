"""What every microphone owes to `hal.Microphone`: one suite over ALSA's `file` and pipe and over PulseAudio.

The driver, PortAudio, libasound and the sound server are the real ones; simulated is what they listen to.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from hal import Capability, DeviceKind, Transport
from simulators.devices.alsa_microphone import AlsaMicrophone, LiveAlsaMicrophone
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.pulse_microphone import PulseMicrophone
from simulators.devices.sound import RATE
from tests.drivers.microphone_process import MicrophoneProcess

SECONDS = 0.5
MAKERS: dict[str, Callable[[Path], Any]] = {
    "alsa-file": AlsaMicrophone,
    "alsa-live": LiveAlsaMicrophone,
    "pulse": PulseMicrophone,
    "pulse-48k": lambda folder: PulseMicrophone(folder, rate=48_000),
}
OPTIONS: dict[str, dict[str, Any]] = {"pulse-48k": {"device_rate": 48_000}}
LIVE = {"alsa-live", "pulse", "pulse-48k"}


@dataclass
class Rig:
    """A microphone and the process that records from it."""

    kind: str
    microphone: Any
    process: MicrophoneProcess
    folder: Path

    @property
    def options(self) -> dict[str, Any]:
        return {"device": self.microphone.device, **OPTIONS.get(self.kind, {})}

    def open(self, seconds: float = 20.0) -> dict[str, Any]:
        return self.process.ask("open", options=self.options, seconds=seconds)

    def start(self, seconds: float = 40.0) -> None:
        assert "error" not in self.open()
        self.process.well("start", seconds=seconds)

    def hear(self, samples: int) -> tuple[np.ndarray, dict[str, Any]]:
        found = self.process.well("record", samples=samples, path=str(self.folder / "heard"))
        return np.fromfile(self.folder / "heard", "<i2"), found

    def works(self) -> None:
        """A fresh opening records."""
        self.process.well("close")
        self.start()
        self.process.well("record", samples=RATE // 5)
        self.process.well("close")


def make(kind: str, folder: Path, stack: ExitStack, **how: Any) -> Any:
    if kind.startswith("pulse") and shutil.which("pulseaudio") is None:
        pytest.skip("pulseaudio is not installed: sudo apt-get install pulseaudio pulseaudio-utils libasound2-plugins")
    microphone = MAKERS[kind](folder / "microphone", **how)
    if kind in LIVE:
        stack.enter_context(microphone)
    return microphone


@pytest.fixture(params=["alsa-file", pytest.param("alsa-live", marks=pytest.mark.slow), "pulse"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        microphone = make(request.param, tmp_path, stack)
        process = stack.enter_context(MicrophoneProcess(microphone.environment(), tmp_path / "log"))
        yield Rig(request.param, microphone, process, tmp_path)


def named(value: object) -> str:
    """A readable name of a case."""
    if isinstance(value, FaultOrder):
        return f"{value.fault}-{value.seconds:g}" if value.seconds else str(value.fault)
    return "-or-".join(sorted(value)) if isinstance(value, set) else str(value)


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rig", kinds, indirect=True)


def speech(seconds: float = 1.0, seed: int = 7) -> np.ndarray:
    """Noise over the full range: any lost, doubled or altered sample shows."""
    return np.random.default_rng(seed).integers(-32768, 32767, int(seconds * RATE), dtype=np.int16)


def voice(seconds: float = 1.0) -> np.ndarray:
    """A sweep that survives resampling."""
    time = np.arange(int(seconds * RATE)) / RATE
    return (9000 * np.sin(2 * np.pi * (300 + 700 * time) * time)).astype(np.int16)


def test_it_is_a_device_that_says_who_it_is(rig: Rig) -> None:
    found = rig.open()
    assert found["device"]
    assert found["info"] == [DeviceKind.MICROPHONE, Transport.VIRTUAL, [Capability.SHARED]]
    assert rig.process.well("listed")["listed"]


def test_what_is_spoken_arrives_identical_to_the_bit(rig: Rig) -> None:
    said = speech()
    rig.microphone.speak(said)
    rig.start()
    heard, found = rig.hear(len(said) + 3 * RATE // 2)
    assert said.tobytes() in heard.tobytes()
    assert found["overflows"] == 0


@only("pulse-48k")
def test_what_is_spoken_at_another_rate_arrives_whole(rig: Rig) -> None:
    """Recorded at the device's 48 kHz and resampled by the driver, as a device of 48 kHz only would be."""
    said = voice()
    rig.microphone.speak(said)
    rig.start()
    heard, found = rig.hear(len(said) + 3 * RATE // 2)
    scores = np.correlate(heard.astype(float), said.astype(float), "valid")
    at = int(scores.argmax())
    part = heard[at : at + len(said)].astype(float)
    # Half a sample of delay costs a hundredth; a single lost block would leave the rest of the sweep elsewhere.
    assert np.corrcoef(part, said)[0, 1] > 0.98
    assert found["rates"] == [RATE]
    assert found["overflows"] == 0


def test_blocks_are_numbered_timed_and_of_the_asked_rate(rig: Rig) -> None:
    rig.start()
    _heard, found = rig.hear(RATE // 2)
    first, last, count = found["sequence"]
    assert (first, last) == (2, count + 1)
    assert found["rates"] == [RATE]
    assert found["rising"]
    assert 0 <= found["age"] < 2.5


def test_an_endless_recording_ends_by_its_deadline(rig: Rig) -> None:
    rig.start(seconds=SECONDS)
    found = rig.process.ask("record", samples=10**9)
    assert found["error"] == "TimedOut"
    assert found["spent"] <= 1.1 * SECONDS + 0.1


def test_a_deadline_already_past_opens_and_records_nothing(rig: Rig) -> None:
    assert rig.open(seconds=0)["error"] == "TimedOut"
    rig.open()
    assert rig.process.ask("start", seconds=0)["error"] == "TimedOut"
    rig.works()


@only("alsa-file", "pulse")
def test_it_may_be_opened_twice_at_once(rig: Rig) -> None:
    rig.process.well("twice", options=rig.options, seconds=20)


def test_a_missing_microphone_names_those_found(rig: Rig) -> None:
    found = rig.process.ask("open", options={"device": "no such microphone"}, seconds=20)
    assert found["error"] == "NotFound"
    assert rig.microphone.device in found["text"]


@pytest.mark.parametrize("count", [10, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
@only("alsa-file", "alsa-live", "pulse")
def test_opening_and_closing_leaks_nothing(rig: Rig, count: int) -> None:
    found = rig.process.well("cycles", options=rig.options, count=count)
    assert found["after"] == found["before"]


# What goes wrong while recording: the error, its remedy, the time; after mending the same process records again.

STALLED = {"TimedOut"}
GONE = {"Disconnected"}
WHILE_RECORDING = [
    ("alsa-live", FaultOrder(Fault.STALL), STALLED),
    pytest.param("alsa-live", FaultOrder(Fault.SLOW, seconds=30), STALLED, marks=pytest.mark.slow),
    pytest.param("alsa-live", FaultOrder(Fault.UNPLUG), STALLED, marks=pytest.mark.slow),
    ("pulse", FaultOrder(Fault.STALL), STALLED),
    pytest.param("pulse", FaultOrder(Fault.SLOW, seconds=30), STALLED, marks=pytest.mark.slow),
    ("pulse", FaultOrder(Fault.UNPLUG), GONE | STALLED),
    ("pulse", FaultOrder(Fault.SERVER_DEATH), GONE),
]


@pytest.mark.parametrize(("rig", "order", "errors"), WHILE_RECORDING, indirect=["rig"], ids=named)
def test_a_fault_while_recording(rig: Rig, order: FaultOrder, errors: set[str]) -> None:
    rig.start()
    rig.microphone.inject(order)
    found = rig.process.ask("record", samples=10**9)
    assert found.get("error") in errors, found
    assert found["remedy"]
    # At most a second of nothing, and at most one more to let go of a device that hangs.
    assert found["spent"] < 3.0
    rig.microphone.mend()
    rig.works()


@only("pulse")
def test_a_stall_does_not_outlast_the_callers_deadline(rig: Rig) -> None:
    rig.start(seconds=SECONDS)
    rig.microphone.inject(FaultOrder(Fault.STALL))
    found = rig.process.ask("record", samples=10**9)
    assert found["error"] == "TimedOut"
    assert found["spent"] <= 1.1 * SECONDS + 0.1
    rig.microphone.mend()
    rig.works()


BEFORE_OPENING = [
    ("alsa-file", FaultOrder(Fault.UNPLUG), {"NotFound"}),
    ("alsa-live", FaultOrder(Fault.UNPLUG), {"NotFound"}),
    ("pulse", FaultOrder(Fault.UNPLUG), {"NotFound", "Disconnected"}),
    ("pulse", FaultOrder(Fault.SERVER_DEATH), {"NotFound"}),
    ("pulse", FaultOrder(Fault.STALL), {"TimedOut"}),
]


@pytest.mark.parametrize("first", [pytest.param("fresh", marks=pytest.mark.slow), "used"])
@pytest.mark.parametrize(("rig", "order", "errors"), BEFORE_OPENING, indirect=["rig"], ids=named)
def test_a_fault_before_opening(rig: Rig, order: FaultOrder, errors: set[str], first: str) -> None:
    """In a process that has never looked at its devices, and in one that remembers them."""
    if first == "used":
        rig.works()
    rig.microphone.inject(order)
    found = rig.open(seconds=SECONDS)
    if "error" not in found:
        found = rig.process.ask("start", seconds=SECONDS)
    assert found.get("error") in errors, found
    assert found["remedy"]
    assert found["spent"] <= 1.1 * SECONDS + (0.1 if first == "used" else 0.6), "loading PortAudio takes some time"
    rig.microphone.mend()
    rig.works()


AUDIBLE = [
    ("alsa-file", FaultOrder(Fault.CORRUPT, rate=0.01)),
    ("alsa-file", FaultOrder(Fault.SHORT_READ, seed=29)),
    pytest.param("alsa-live", FaultOrder(Fault.CORRUPT, rate=0.01), marks=pytest.mark.slow),
    pytest.param("alsa-live", FaultOrder(Fault.SHORT_READ, rate=0.2), marks=pytest.mark.slow),
    pytest.param("alsa-live", FaultOrder(Fault.SLOW, seconds=0.02), marks=pytest.mark.slow),
    pytest.param("pulse", FaultOrder(Fault.CORRUPT, rate=0.01), marks=pytest.mark.slow),
    pytest.param("pulse", FaultOrder(Fault.SHORT_READ, rate=0.2), marks=pytest.mark.slow),
    pytest.param("pulse", FaultOrder(Fault.SLOW, seconds=0.1), marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("rig", "order"), AUDIBLE, indirect=["rig"], ids=named)
def test_a_fault_that_sound_cannot_show_is_no_error(rig: Rig, order: FaultOrder) -> None:
    """Sound has no checksum and no frame: altered or missing samples are samples. The device stays usable."""
    said = speech(0.5)
    rig.microphone.speak(said)
    rig.microphone.inject(order)
    rig.start()
    heard, _found = rig.hear(2 * RATE)
    if order.fault is not Fault.SLOW:
        assert said.tobytes() not in heard.tobytes()
    rig.microphone.mend()
    rig.works()


# A minute without a break.


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_minute_through_pulseaudio_is_unbroken(tmp_path: Path) -> None:
    """Sixty seconds in real time of a signal in which every sample is known: none is lost, doubled or altered."""
    said = speech(60.0, seed=3)
    with ExitStack() as stack:
        microphone = make("pulse", tmp_path, stack, latency_ms=2000)
        process = stack.enter_context(MicrophoneProcess(microphone.environment(), tmp_path / "log"))
        rig = Rig("pulse", microphone, process, tmp_path)
        rig.start(seconds=120)
        microphone.speak(said)
        heard, found = rig.hear(66 * RATE)
    start = heard.tobytes().find(said[:RATE].tobytes()) // 2
    assert start >= 0, "the beginning was not heard"
    same = heard[start : start + len(said)] == said
    assert same.all(), f"{np.count_nonzero(~same)} of {len(said)} samples differ, the first at {int(same.argmin())}"
    assert found["overflows"] == 0


def test_the_resampled_reference_is_not_the_original() -> None:
    """The control: a bit-identical comparison would notice resampling."""
    said = speech(0.2)
    there = soxr.resample(said, RATE, 48_000)
    back = soxr.resample(there, 48_000, RATE)
    assert len(back) == len(said)
    assert not np.array_equal(back, said)
