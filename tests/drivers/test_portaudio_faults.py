"""Faults and choices of the microphone driver, over a PortAudio that behaves but has no devices of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drivers.portaudio import PortAudioDriver
from drivers.portaudio._backend import translate
from hal import (
    AudioBlock,
    Busy,
    Capability,
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)
from simulators.devices.alsa_microphone import RATE
from tests.drivers.test_portaudio import ROOT, joined, recorded, soon
from tests.on_time import on_time


class PortAudioError(Exception):
    pass


class CallbackAbort(Exception):
    pass


class FakeStream:
    """Calls back from a thread as PortAudio does, with one script entry per block; ends when the script does."""

    def __init__(self, portaudio: FakePortAudio, **settings: Any) -> None:
        self.settings = SimpleNamespace(**settings)
        self._portaudio = portaudio
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        for overflow in self._portaudio.script:
            block = self._portaudio.tone(self.settings)
            try:
                self.settings.callback(
                    block.tobytes(), self.settings.blocksize, None, SimpleNamespace(input_overflow=overflow)
                )
            except CallbackAbort:
                break
        if self._portaudio.silent_after:
            self._stop.wait()
        self.settings.finished_callback()

    def abort(self, ignore_errors: bool) -> None:
        self._stop.set()
        self._thread.join()

    def close(self, ignore_errors: bool) -> None:
        self._portaudio.open_streams -= 1


class FakePortAudio:
    """The calls of `sounddevice` that the driver makes, over devices that the test describes."""

    PortAudioError = PortAudioError
    CallbackAbort = CallbackAbort

    def __init__(self, *devices: dict[str, Any], script: tuple[bool, ...] = (False,) * 5, silent_after: bool = False):
        self.devices = [
            {"index": index, "max_input_channels": 1, "default_samplerate": 48_000.0, "rates": {16_000}, **device}
            for index, device in enumerate(devices)
        ]
        self.plugged_later: list[dict[str, Any]] = []
        self.script = script
        self.silent_after = silent_after
        self.refusal: PortAudioError | None = None
        self.open_streams = 0
        self.default = SimpleNamespace(device=[0 if devices else -1, -1])

    def query_devices(self) -> list[dict[str, Any]]:
        return self.devices

    def check_input_settings(self, device: int, channels: int, dtype: str, samplerate: int) -> None:
        described = self.devices[device]
        if samplerate not in described["rates"]:
            raise PortAudioError("Invalid sample rate", -9997)
        if channels not in described.get("channels", {1}):
            raise PortAudioError("Invalid number of channels", -9998)

    def RawInputStream(self, **settings: Any) -> FakeStream:
        if self.refusal:
            raise self.refusal
        self.open_streams += 1
        return FakeStream(self, **settings)

    def tone(self, settings: SimpleNamespace) -> np.ndarray:
        """A steady 1000 on the first channel and -1000 on the others."""
        block = np.full((settings.blocksize, settings.channels), -1000, np.int16)
        block[:, 0] = 1000
        return block

    def _terminate(self) -> None:
        self.devices = [*self.devices, *self.plugged_later]

    def _initialize(self) -> None:
        self.plugged_later = []


def driver(portaudio: FakePortAudio, sysfs: Path = Path("/nonexistent")) -> PortAudioDriver:
    return PortAudioDriver(backend=lambda: portaudio, sysfs=sysfs)


MIC = {"name": "Headset"}


def test_stream_that_dies_is_disconnected_after_its_last_block() -> None:
    portaudio = FakePortAudio(MIC)
    heard: list[AudioBlock] = []
    with driver(portaudio).open({}) as microphone, pytest.raises(Disconnected):
        for block in microphone.blocks(soon()):
            heard.append(block)
    assert len(heard) == 5
    assert portaudio.open_streams == 0


def test_stream_that_falls_silent_times_out_and_is_released() -> None:
    portaudio = FakePortAudio(MIC, silent_after=True)
    with driver(portaudio).open({}) as microphone, on_time(0.5, least=0.5), pytest.raises(TimedOut):
        recorded(microphone.blocks(Deadline.after(0.5)), RATE)
    assert portaudio.open_streams == 0


def test_iterator_that_is_closed_releases_the_device() -> None:
    portaudio = FakePortAudio(MIC, silent_after=True)
    with driver(portaudio).open({}) as microphone:
        blocks = microphone.blocks(soon())
        next(blocks)
        assert portaudio.open_streams == 1
        with pytest.raises(Busy):
            next(microphone.blocks(soon()))
        blocks.close()
        assert portaudio.open_streams == 0
        next(microphone.blocks(soon()))


def test_closed_microphone_ends_its_iterator_and_opens_no_other() -> None:
    portaudio = FakePortAudio(MIC, silent_after=True)
    microphone = driver(portaudio).open({})
    blocks = microphone.blocks(soon())
    next(blocks)
    microphone.close()
    microphone.close()
    for iterator in (blocks, microphone.blocks(soon())):
        with pytest.raises(Disconnected):
            next(iterator)
    assert portaudio.open_streams == 0


def test_flag_of_portaudio_marks_the_block_after_the_loss() -> None:
    portaudio = FakePortAudio(MIC, script=(False, False, True, False))
    with driver(portaudio).open({}) as microphone:
        heard = recorded(microphone.blocks(soon()), 4 * 320)
    assert [block.overflow for block in heard] == [False, False, True, False]


class SteppingClock:
    """Each reading is `step` later than the one before, and `leap` later once."""

    def __init__(self, step: float, leap: float = 0.0, leap_at: int = -1) -> None:
        self.now, self.step, self.leap, self.leap_at, self.readings = 0.0, step, leap, leap_at, 0

    def monotonic_ns(self) -> int:
        self.readings += 1
        self.now += self.step + (self.leap if self.readings == self.leap_at else 0.0)
        return int(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("clock", "lost"),
    [
        (SteppingClock(0.020), []),
        (SteppingClock(0.020, leap=0.5, leap_at=10), [10]),
        (SteppingClock(0.0001), []),
        (SteppingClock(0.0001, leap=30.0, leap_at=150), []),
    ],
    ids=["paced", "paced-with-a-gap", "unpaced", "unpaced-with-a-pause"],
)
def test_lost_samples_are_found_by_counting_against_time(clock: SteppingClock, lost: list[int]) -> None:
    portaudio = FakePortAudio(MIC, script=(False,) * 200)
    with PortAudioDriver(clock, backend=lambda: portaudio).open({}) as microphone:
        heard = recorded(microphone.blocks(soon()), 200 * 320)
    assert [block.sequence for block in heard if block.overflow] == lost


@pytest.mark.parametrize("only_rate", [48_000, 44_100])
@pytest.mark.parametrize("told", [44_100.0, 48_000.0])
def test_device_of_one_rate_and_two_channels_is_delivered_as_16_khz_mono(only_rate: int, told: float) -> None:
    """Whatever PortAudio tells of its usual rate, the one that it takes is found."""
    stereo = {
        "name": "Stereo",
        "rates": {only_rate},
        "channels": {2},
        "max_input_channels": 2,
        "default_samplerate": told,
    }
    portaudio = FakePortAudio(stereo, script=(False,) * 60)
    heard: list[AudioBlock] = []
    with driver(portaudio).open({}) as microphone, pytest.raises(Disconnected):
        for block in microphone.blocks(soon()):
            heard.append(block)
    pcm = joined(heard)
    assert {block.rate for block in heard} == {16_000}
    assert len(pcm) == pytest.approx(60 * 320, rel=0.1)
    assert np.all(np.abs(pcm[1000:-1000].astype(int) - 1000) <= 2)


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (PortAudioError("Device unavailable", -9985), Busy),
        (PortAudioError("Unanticipated host error", -9999, (0, -16, "busy")), Busy),
        (PortAudioError("Unanticipated host error", -9999, (0, -13, "denied")), PermissionDenied),
        (PortAudioError("Unanticipated host error", -9999, (0, -19, "gone")), Disconnected),
    ],
)
def test_refusals_of_the_system(refusal: PortAudioError, error: type[DeviceError]) -> None:
    portaudio = FakePortAudio(MIC)
    portaudio.refusal = refusal
    with driver(portaudio).open({}) as microphone, pytest.raises(error):
        next(microphone.blocks(soon()))


def test_device_rate_leaves_no_choice() -> None:
    with pytest.raises(Unsupported):
        driver(FakePortAudio(MIC)).open({"device_rate": 48_000})
    both = {"name": "Both", "rates": {16_000, 48_000}}
    with driver(FakePortAudio(both, script=(False,) * 20)).open({"device_rate": 48_000}) as microphone:
        assert microphone._settings.rate == 48_000
        assert next(microphone.blocks(soon())).rate == 16_000


class ScriptedTime(FakePortAudio):
    """Tells for each block how long ago its first sample was at the converter."""

    delay = 0.25

    def RawInputStream(self, **settings: Any) -> FakeStream:
        told = SimpleNamespace(currentTime=100.0, inputBufferAdcTime=100.0 - self.delay)
        callback = settings["callback"]
        settings["callback"] = lambda samples, frames, _time, status: callback(samples, frames, told, status)
        return super().RawInputStream(**settings)


@pytest.mark.parametrize(("delay", "age"), [(0.25, 0.25), (-1.0, 0.02), (900.0, 0.02)])
def test_blocks_carry_the_time_at_the_converter_where_portaudio_knows_it(delay: float, age: float) -> None:
    portaudio = ScriptedTime(MIC)
    portaudio.delay = delay
    with driver(portaudio).open({}) as microphone:
        before = time.monotonic()
        block = next(microphone.blocks(soon()))
    assert before - age - 0.01 <= block.captured_ns / 1e9 <= time.monotonic() - age


def test_rate_that_the_device_lacks_altogether() -> None:
    with pytest.raises(Unsupported):
        driver(FakePortAudio({"name": "Odd", "rates": {11_025}})).open({})


def test_device_is_chosen_by_name_part_or_index() -> None:
    portaudio = FakePortAudio(
        {"name": "USB Audio: - (hw:1,0)"}, {"name": "Headset"}, {"name": "HDMI", "max_input_channels": 0}
    )
    chosen = driver(portaudio)
    assert chosen.open({"device": "headset"}).info.name == "Headset"
    assert chosen.open({"device": 0}).info.port == "hw:1,0"
    assert chosen.open({}).info.name.startswith("USB")
    with pytest.raises(Unsupported, match="more than one"):
        chosen.open({"device": "s"})
    for absent in ("hdmi", 2, 9):
        with pytest.raises(NotFound):
            chosen.open({"device": absent})
    with pytest.raises(NotFound, match="default"):
        driver(FakePortAudio()).open({})


def test_device_plugged_in_later_is_found() -> None:
    portaudio = FakePortAudio(MIC)
    portaudio.plugged_later = [{**portaudio.devices[0], "index": 1, "name": "Desk"}]
    assert driver(portaudio).open({"device": "Desk"}).info.name == "Desk"


@pytest.mark.parametrize(
    ("bus", "transport"),
    [
        ("pci0000:00/usb1/1-2/1-2:1.0", Transport.ALSA),
        ("platform/snd_aloop.0", Transport.VIRTUAL),
        ("platform/snd_dummy.0", Transport.VIRTUAL),
        (None, Transport.VIRTUAL),
    ],
)
def test_only_a_card_on_a_bus_is_announced_as_hardware(tmp_path: Path, bus: str | None, transport: Transport) -> None:
    if bus:
        place = tmp_path / "devices" / bus
        place.mkdir(parents=True)
        (place.parent / "serial").write_text("77\n")
        (tmp_path / "sound" / "card1").mkdir(parents=True)
        (tmp_path / "sound" / "card1" / "device").symlink_to(place)
    portaudio = FakePortAudio({"name": "Mic: - (hw:1,0)"}, {"name": "pulse"})
    card, server = driver(portaudio, tmp_path / "sound").list({})
    assert (card.transport, card.port) == (transport, "hw:1,0")
    assert card.serial == ("77" if transport is Transport.ALSA else "")
    assert server.transport is Transport.VIRTUAL


@pytest.fixture
def card(tmp_path: Path) -> Callable[[], PortAudioDriver]:
    """A sound card as sysfs and /dev show it; each call is a driver of its own."""
    (tmp_path / "sound").mkdir()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "controlC1").touch()
    portaudio = FakePortAudio({"name": "Mic: - (hw:1,0)"}, {"name": "pulse"})
    return lambda: PortAudioDriver(backend=lambda: portaudio, sysfs=tmp_path / "sound", devices=tmp_path / "dev")


def test_a_card_has_one_claimant_and_a_sound_server_many(card: Callable[[], PortAudioDriver]) -> None:
    with card().open({"device": "Mic"}) as first:
        assert Capability.SHARED not in first.info.capabilities
        with pytest.raises(Busy):
            card().open({"device": "Mic"})
        with card().open({"device": "pulse"}), card().open({"device": "pulse"}) as shared:
            assert Capability.SHARED in shared.info.capabilities
    card().open({"device": "Mic"}).close()


def test_opening_and_listing_end_by_their_deadline_when_portaudio_hangs() -> None:
    release = threading.Event()
    hangs = PortAudioDriver(backend=lambda: release.wait(20) and FakePortAudio(MIC))
    with on_time(0.3), pytest.raises(TimedOut) as caught:
        hangs.open({}, Deadline.after(0.3))
    assert "sound server" in caught.value.remedy
    with pytest.raises(TimedOut):
        driver(FakePortAudio(MIC)).open({}, Deadline.after(0.1))
    release.set()
    driver(FakePortAudio(MIC)).open({}).close()


def test_a_stream_that_is_slow_to_let_go_does_not_outlast_the_deadline_and_is_waited_for_next_time() -> None:
    class Slow(FakeStream):
        def close(self, ignore_errors: bool) -> None:
            time_to_close.wait(20)
            super().close(ignore_errors)

    time_to_close = threading.Event()
    portaudio = FakePortAudio(MIC, silent_after=True)
    portaudio.RawInputStream = lambda **settings: Slow(portaudio, **settings)  # type: ignore[method-assign]
    portaudio.open_streams = 1
    with driver(portaudio).open({}) as microphone:
        with on_time(0.4), pytest.raises(TimedOut):
            recorded(microphone.blocks(Deadline.after(0.4)), RATE)
        threading.Timer(0.1, time_to_close.set).start()
        driver(portaudio).open({}).close()
        assert portaudio.open_streams == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PortAudioError("Illegal combination of I/O devices", -9993), NotFound),
        (PortAudioError("Unanticipated host error", -9999, (0, -5, "io")), Disconnected),
        (PortAudioError("Unanticipated host error", -9999, (0, -111, "refused")), NotFound),
        (PortAudioError("Unanticipated host error", -9999, (0, -77, "bad state")), Disconnected),
        (PortAudioError("PortAudio not initialized", -10000), ProtocolError),
        (PortAudioError(), ProtocolError),
    ],
)
def test_what_portaudio_says_of_a_device_that_is_gone(error: PortAudioError, kind: type[DeviceError]) -> None:
    found = translate(error, "microphone 'x'")
    assert type(found) is kind
    assert found.remedy


def test_missing_library_names_the_package() -> None:
    code = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from drivers.portaudio import PortAudioDriver; import hal\n"
        "try: PortAudioDriver().list({})\n"
        "except hal.Unsupported as error: print(error.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.search(r"apt-get install libportaudio2", done.stdout), done.stderr


@pytest.mark.parametrize(
    "options",
    [
        {"devise": 1},
        {"device": ""},
        {"device": True},
        {"rate": "16000"},
        {"rate": 7},
        {"block_ms": 0},
        {"device_rate": 1},
    ],
)
def test_options_that_are_not_understood(options: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        driver(FakePortAudio(MIC)).open(options)
    assert next(iter(options)) in str(caught.value)
