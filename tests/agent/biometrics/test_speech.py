import dataclasses

import numpy as np
import pytest
import soxr

from agent.biometrics import Modality, Recording, VoicePipeline, speech
from agent.biometrics.replay import recogniser
from tests.agent.biometrics.fans import FANS, fan_noise, in_noise


def found(pcm: np.ndarray, rate: int = 16_000) -> speech.Speech:
    return speech.find(Recording(pcm, rate).samples())


@pytest.mark.parametrize("name", FANS)
def test_a_fan_alone_is_not_speech_and_a_voice_over_it_is(voices, name: str):
    for seed in range(5):
        alone = Recording(np.rint(2000 * fan_noise(FANS[name], 64_000, seed)).astype(np.int16), 16_000)
        assert "quieter place" in VoicePipeline().assess(alone).reasons[0]
        assert speech.find(alone.samples()).seconds < 2.0
    assert found(in_noise(voices["high"][0].pcm, FANS[name], 5, 3)).seconds > 3.0


@pytest.mark.parametrize("name", FANS)
def test_the_measured_ratio_is_near_the_true_one(voices, name: str):
    measured = [found(in_noise(voices["high"][0].pcm, FANS[name], snr, 3)).snr_db for snr in (20, 15, 10, 5, 0)]
    assert np.all(np.diff(measured) < -2.5)
    assert np.all(np.abs(np.array(measured) - (20, 15, 10, 5, 0)) < 7.0)


def test_a_steady_tone_is_no_speech():
    """Loudness alone tells nothing: a steady tone is as loud as a voice."""
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(64_000) / 16_000)).astype(np.int16)
    assert found(tone).seconds < 0.5


def test_digital_silence_before_the_speech_does_not_hide_the_noise(voices):
    noisy = in_noise(voices["high"][0].pcm, FANS["air flow"], 5, 3)
    muted = np.concatenate([np.zeros(32_000, np.int16), noisy])
    assert abs(found(muted).snr_db - found(noisy).snr_db) < 4.0


def test_a_telephone_is_told_from_a_full_band(voices):
    for group in voices.values():
        pcm = group[0].pcm
        call = soxr.resample(pcm.astype(np.float64), 16_000, 8_000)
        back = soxr.resample(call, 8_000, 16_000)
        assert not found(pcm).narrow
        assert found(np.rint(call).astype(np.int16), 8_000).narrow
        assert found(np.clip(np.rint(back), -32768, 32767).astype(np.int16)).narrow


def test_nothing_is_found_in_nothing():
    for pcm in (np.zeros(0, np.int16), np.zeros(100, np.int16), np.zeros(16_000, np.int16)):
        nothing = found(pcm)
        assert (len(nothing.samples), nothing.seconds) == (0, 0.0)


def test_a_long_pause_is_shortened_and_a_short_one_kept(voices):
    pcm = voices["low"][0].pcm
    pauses = [found(np.concatenate([pcm, np.zeros(n, np.int16), pcm])) for n in (1_600, 48_000)]
    lengths = [len(one.samples) / 16_000 for one in pauses]
    assert lengths[1] - lengths[0] < 0.8
    assert np.isclose(pauses[0].seconds, pauses[1].seconds, atol=0.3)


def test_what_was_found_shows_no_sound_when_printed(voices):
    shown = repr(found(voices["low"][0].pcm))
    assert "samples" not in shown
    assert all(field.name in shown for field in dataclasses.fields(speech.Speech) if field.repr)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_recording_shorter_than_a_pause_has_its_speech_found_and_no_more(rate: int):
    """At full length, where nothing was wrong, some of the same sound is heard."""
    tone = (8_000 * np.sin(0.1 * np.arange(60_000))).astype(np.int16)
    for length in (0, 1, 320, 2_000, 3_999, 4_000, 6_000):
        heard = found(tone[:length], rate)
        assert heard.seconds <= length / rate + 0.02
        assert recogniser(Modality.VOICE).trace(Recording(tone[:length], rate))
    assert found(tone, rate).samples.size > 0
