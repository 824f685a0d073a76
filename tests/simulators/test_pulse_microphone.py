"""The sound server that is a microphone: its life and its faults, without PortAudio."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hal import Deadline
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.pulse_microphone import PulseMicrophone

pytestmark = pytest.mark.skipif(shutil.which("pulseaudio") is None, reason="pulseaudio is not installed")


@pytest.fixture
def microphone(tmp_path: Path) -> Iterator[PulseMicrophone]:
    with PulseMicrophone(tmp_path / "microphone") as microphone:
        yield microphone


def listen(microphone: PulseMicrophone, count: int) -> np.ndarray:
    """The next `count` samples, by PulseAudio's own recorder."""
    form = ("--raw", "--format=s16le", "--rate=16000", "--channels=1", "--latency-msec=20")
    command = microphone._client("parec", "--device=microphone", *form)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as recorder:
        assert recorder.stdout is not None
        heard = recorder.stdout.read(2 * count)
        recorder.kill()
    return np.frombuffer(heard, "<i2")


def test_room_noise_until_somebody_speaks(microphone: PulseMicrophone) -> None:
    assert not microphone.recorded
    heard = listen(microphone, 8000)
    assert 0 < np.abs(heard).max() < 100


def test_speech_waits_for_a_listener_and_arrives_whole(microphone: PulseMicrophone) -> None:
    said = np.random.default_rng(1).integers(-30000, 30000, 8000, np.int16)
    microphone.speak(said)
    assert microphone.speaking
    assert said.tobytes() in listen(microphone, 28_000).tobytes()
    assert not microphone.speaking


def test_silence_forgets_what_was_not_said(microphone: PulseMicrophone) -> None:
    microphone.speak(np.full(8000, 9000, np.int16))
    microphone.silence()
    assert np.abs(listen(microphone, 20_000)).max() < 100


@pytest.mark.parametrize("fault", sorted(PulseMicrophone.faults))
def test_every_fault_can_be_mended(microphone: PulseMicrophone, fault: Fault) -> None:
    microphone.inject(FaultOrder(fault, seconds=0.05 if fault is Fault.SLOW else 0.0))
    microphone.mend()
    assert np.abs(listen(microphone, 4000)).max() < 100


def test_a_dead_server_is_dead_and_a_fault_it_cannot_play_is_refused(microphone: PulseMicrophone) -> None:
    with pytest.raises(ValueError, match="lockout"):
        microphone.inject(FaultOrder(Fault.LOCKOUT))
    microphone.inject(FaultOrder(Fault.SERVER_DEATH))
    assert microphone._server.poll() is not None


def test_closing_leaves_no_process_and_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    microphone = PulseMicrophone(tmp_path / "microphone")
    children = [microphone._server, microphone._feeder._player, microphone._listeners._reporter]
    microphone.inject(FaultOrder(Fault.STALL))
    microphone.close()
    microphone.close()
    assert all(child is not None and child.poll() is not None for child in children)
    patience = Deadline.after(5)
    while threading.active_count() > before:
        patience.check("the threads ending")


def test_the_recording_process_needs_two_variables(microphone: PulseMicrophone) -> None:
    environment = microphone.environment()
    assert sorted(environment) == ["ALSA_CONFIG_PATH", "PULSE_CLIENTCONFIG"]
    assert microphone.device in Path(environment["ALSA_CONFIG_PATH"]).read_text()
