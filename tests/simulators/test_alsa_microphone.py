"""The files and the pipe that libasound reads, without libasound."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hal import Deadline
from simulators.devices.alsa_microphone import (
    LEAD_SECONDS,
    RATE,
    TAIL_SECONDS,
    AlsaMicrophone,
    LiveAlsaMicrophone,
    RoomNoise,
    at_16_khz,
)
from simulators.devices.faults import Fault, FaultOrder

LEAD = int(LEAD_SECONDS * RATE)
PIECE_BYTES = 1920


def heard(folder: Path) -> np.ndarray:
    return np.fromfile(folder / "microphone.raw", "<i2")


def test_environment_names_a_private_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "microphone"
    path = Path(AlsaMicrophone(folder).environment()["ALSA_CONFIG_PATH"])
    assert f'infile "{folder}/microphone.raw"' in path.read_text()
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (folder, path, folder / "microphone.raw")]
    assert modes == [0o700, 0o600, 0o600]


def test_speech_stands_between_room_noise(tmp_path: Path) -> None:
    microphone = AlsaMicrophone(tmp_path)
    said = np.full(RATE, 9000, np.int16)
    microphone.speak(said)
    samples = heard(tmp_path)
    assert len(samples) == LEAD + len(said) + int(TAIL_SECONDS * RATE)
    assert np.array_equal(samples[LEAD : LEAD + len(said)], said)
    assert 0 < np.abs(np.delete(samples, slice(LEAD, LEAD + len(said)))).max() < 100


def test_silence_forgets_the_speech(tmp_path: Path) -> None:
    microphone = AlsaMicrophone(tmp_path)
    microphone.speak(np.full(RATE, 9000, np.int16))
    microphone.silence()
    assert np.abs(heard(tmp_path)).max() < 100


def test_open_reader_keeps_the_speech_it_opened(tmp_path: Path) -> None:
    microphone = AlsaMicrophone(tmp_path)
    microphone.speak(np.full(RATE, 9000, np.int16))
    with (tmp_path / "microphone.raw").open("rb") as reader:
        microphone.speak(np.full(RATE, 5, np.int16))
        assert np.frombuffer(reader.read(), "<i2").max() == 9000


def test_noise_comes_from_its_seed() -> None:
    assert np.array_equal(RoomNoise(seed=3).samples(500), RoomNoise(seed=3).samples(500))
    assert not np.array_equal(RoomNoise(seed=3).samples(500), RoomNoise(seed=4).samples(500))
    assert RoomNoise(rms=50).seconds(1.0).std() == pytest.approx(50, rel=0.05)


def test_speech_of_another_rate_keeps_pitch_and_length() -> None:
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)).astype(np.int16)
    resampled = at_16_khz(tone, 44_100)
    assert len(resampled) == RATE
    assert int(np.abs(np.fft.rfft(resampled)).argmax()) == 440


@pytest.mark.parametrize("pcm", [np.zeros(10, np.float32), np.zeros((10, 2), np.int16)])
def test_speech_must_be_mono_int16(pcm: np.ndarray) -> None:
    with pytest.raises(ValueError, match="int16"):
        at_16_khz(pcm, RATE)


def test_folder_that_a_configuration_cannot_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="character"):
        AlsaMicrophone(tmp_path / 'a"b')


# The live microphone, read as libasound reads it: whole blocks from the pipe.


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveAlsaMicrophone]:
    with LiveAlsaMicrophone(tmp_path, speed=100) as live:
        yield live


def listen(folder: Path, blocks: int, block: int = 640) -> np.ndarray:
    with (folder / "microphone.fifo").open("rb", buffering=0) as pipe:
        parts = [pipe.read(block) for _ in range(blocks)]
    assert all(len(part) == block for part in parts), "a short read would shift libasound's samples"
    return np.frombuffer(b"".join(parts), "<i2")


@pytest.mark.parametrize("block", [320, 640, 1920])
def test_speech_waits_for_a_listener_and_arrives_whole(live: LiveAlsaMicrophone, tmp_path: Path, block: int) -> None:
    said = np.arange(1000, 9000, dtype=np.int16)
    live.speak(said)
    assert live.speaking
    samples = listen(tmp_path, 40_000 // block, block)
    assert said.tobytes() in samples.tobytes()
    assert np.abs(samples[: LEAD - 960]).max() < 100
    assert not live.speaking


def test_short_visit_takes_no_speech(live: LiveAlsaMicrophone, tmp_path: Path) -> None:
    said = np.arange(1000, 9000, dtype=np.int16)
    live.speak(said)
    for _ in range(5):
        os.close(os.open(tmp_path / "microphone.fifo", os.O_RDONLY))
    assert said.tobytes() in listen(tmp_path, 100).tobytes()


def test_live_silence_forgets_what_was_not_said(live: LiveAlsaMicrophone, tmp_path: Path) -> None:
    live.speak(np.full(RATE, 9000, np.int16))
    live.silence()
    assert np.abs(listen(tmp_path, 50)).max() < 100


def test_stall_holds_and_resume_goes_on(live: LiveAlsaMicrophone, tmp_path: Path) -> None:
    live.stall()
    threading.Timer(0.05, live.resume).start()
    assert len(listen(tmp_path, 10)) == 3200


def test_close_ends_the_thread_even_while_stalled(tmp_path: Path) -> None:
    before = threading.active_count()
    live = LiveAlsaMicrophone(tmp_path)
    live.stall()
    live.close()
    live.close()
    assert threading.active_count() == before


# Faults.


def test_faults_of_the_file_are_met_by_the_next_opening_and_mended(tmp_path: Path) -> None:
    microphone = AlsaMicrophone(tmp_path)
    said = np.arange(1000, 9000, dtype=np.int16)
    microphone.speak(said)
    whole = (tmp_path / "microphone.raw").read_bytes()
    microphone.inject(FaultOrder(Fault.CORRUPT, rate=0.01, seed=1))
    spoiled = np.frombuffer((tmp_path / "microphone.raw").read_bytes(), np.uint8)
    assert 0.005 < np.mean(spoiled != np.frombuffer(whole, np.uint8)) < 0.02
    microphone.mend()
    microphone.inject(FaultOrder(Fault.SHORT_READ))
    assert whole.startswith((tmp_path / "microphone.raw").read_bytes())
    microphone.mend()
    microphone.inject(FaultOrder(Fault.UNPLUG))
    assert not (tmp_path / "microphone.raw").exists()
    microphone.mend()
    assert (tmp_path / "microphone.raw").read_bytes() == whole
    with pytest.raises(ValueError, match="stall"):
        microphone.inject(FaultOrder(Fault.STALL))


def test_an_unplugged_pipe_is_gone_until_it_is_mended(live: LiveAlsaMicrophone, tmp_path: Path) -> None:
    live.inject(FaultOrder(Fault.UNPLUG))
    assert not (tmp_path / "microphone.fifo").exists()
    live.mend()
    assert len(listen(tmp_path, 10)) == 3200


def test_a_pipe_unplugged_for_a_while_comes_back_by_itself(live: LiveAlsaMicrophone, tmp_path: Path) -> None:
    live.inject(FaultOrder(Fault.UNPLUG, seconds=0.1))
    patience = Deadline.after(5)
    while not (tmp_path / "microphone.fifo").exists():
        patience.check("the pipe coming back")
    assert len(listen(tmp_path, 10)) == 3200


def test_spoiled_sound_differs_from_what_was_said(live: LiveAlsaMicrophone, tmp_path: Path) -> None:
    said = np.arange(1000, 9000, dtype=np.int16)
    live.inject(FaultOrder(Fault.CORRUPT, rate=0.05))
    live.speak(said)
    assert said.tobytes() not in listen(tmp_path, 100).tobytes()
