import dataclasses

import numpy as np
import pytest
import soundfile
import soxr

from agent.biometrics import (
    BiometricError,
    CaptureRefused,
    Pipelines,
    Purpose,
    Recording,
    StraySample,
    VoicePipeline,
    VoiceSettings,
    speech,
)
from agent.biometrics._campplus import filter_bank
from agent.biometrics.pipelines import enrol, match
from agent.biometrics.voice_report import examine
from hal import AudioBlock
from tests.agent.biometrics.conftest import speak
from tests.agent.biometrics.fans import FANS, in_noise


def telephone(recording: Recording) -> Recording:
    """The recording at 8 kHz."""
    pcm = soxr.resample(recording.pcm.astype(np.float64), recording.rate, 8_000)
    return Recording(np.clip(np.rint(pcm), -32768, 32767).astype(np.int16), 8_000)


def changed(recording: Recording, change) -> Recording:
    pcm = np.clip(change(recording.pcm.astype(np.float64)), -32768, 32767).astype(np.int16)
    return dataclasses.replace(recording, pcm=pcm)


def test_a_voice_matches_itself_and_no_other(pipelines: Pipelines, voices):
    features = {name: [pipelines.voice.extract(one).features for one in group] for name, group in voices.items()}
    template = pipelines.enrol(features["low"][:3])
    assert pipelines.match(template, features["low"][3]).accepted
    assert not any(pipelines.match(template, one).accepted for one in features["high"])
    with pytest.raises(StraySample) as caught:
        pipelines.enrol([features["high"][0], *features["low"][:3]])
    assert caught.value.index == 0


@pytest.mark.realdata
def test_real_speakers_match_themselves_and_nobody_else(pipelines: Pipelines, real_data):
    people = []
    for folder in sorted((real_data / "voice/librispeech").iterdir()):
        longest = sorted(folder.iterdir(), key=lambda path: -path.stat().st_size)[:4]
        recordings = [Recording(*soundfile.read(path, dtype="int16")) for path in longest]
        people.append([pipelines.voice.extract(one, Purpose.ENROL).features for one in recordings])
    for person, group in enumerate(people):
        template = pipelines.enrol(group[:3])
        accepted = [pipelines.match(template, other[3]).accepted for other in people]
        assert accepted == [index == person for index in range(len(people))]


def test_level_does_not_change_the_embedding(pipelines: Pipelines, voices):
    loud = voices["low"][0]
    quiet = changed(loud, lambda pcm: pcm * 0.5)
    one, other = (pipelines.voice.extract(each).features.vector / 32767 for each in (loud, quiet))
    assert one @ other > 0.995
    assert np.isclose(np.linalg.norm(one), 1.0, atol=1e-3)


def test_silence_around_the_speech_is_cut_off(pipelines: Pipelines, voices):
    plain = voices["low"][0]
    hiss = np.random.default_rng(0).normal(0, 12, 32_000)
    padded = dataclasses.replace(plain, pcm=np.concatenate([hiss, plain.pcm, hiss]).astype(np.int16))
    found = speech.find(padded.samples())
    assert abs(len(found.samples) / 16_000 - plain.seconds) < 0.8
    one, other = (pipelines.voice.extract(each).features.vector / 32767 for each in (plain, padded))
    assert one @ other > 0.97


def test_another_rate_gives_nearly_the_same_embedding(pipelines: Pipelines, voices):
    plain = voices["high"][0]
    for rate in (44_100, 48_000):
        pcm = np.rint(soxr.resample(plain.pcm.astype(np.float64), 16_000, rate)).astype(np.int16)
        one, other = (pipelines.voice.extract(each).features.vector / 32767 for each in (plain, Recording(pcm, rate)))
        assert one @ other > 0.99


def test_the_filter_bank_follows_the_recipe():
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    rising = tone * np.linspace(0.1, 1.0, 16_000, dtype=np.float32)
    features = filter_bank(rising)
    assert features.shape == (98, 80)
    assert features.dtype == np.float32
    assert np.abs(features.mean(axis=0)).max() < 1e-4
    assert np.array_equal(features, filter_bank(rising))


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda pcm: pcm * 0.0, "Speak louder"),
        (lambda pcm: pcm * 0.01, "Speak louder"),
        (lambda pcm: pcm * 30.0, "more softly"),
        (lambda pcm: pcm[:12_000], "Speak longer"),
        (lambda pcm: pcm + np.random.default_rng(0).normal(0, 4000, pcm.size), "quieter place"),
        (lambda pcm: pcm[:0], "Speak louder"),
    ],
)
def test_a_bad_recording_is_refused_with_something_to_do(pipelines: Pipelines, voices, change, hint: str):
    with pytest.raises(CaptureRefused) as caught:
        pipelines.voice.extract(changed(voices["low"][0], change))
    assert hint in " ".join(caught.value.quality.reasons)


def test_enrolment_asks_for_more_speech_than_verification(pipelines: Pipelines):
    short = speak(90.0, (300.0, 870.0, 2240.0), 1.5, 9, seconds=1.8)
    assert pipelines.voice.assess(short, Purpose.VERIFY).acceptable
    assert not pipelines.voice.assess(short, Purpose.ENROL).acceptable


def test_lost_samples_are_refused(pipelines: Pipelines, voices):
    assert pipelines.voice.assess(voices["low"][0]).acceptable
    quality = pipelines.voice.assess(dataclasses.replace(voices["low"][0], lost=True))
    assert "lost sound" in quality.reasons[-1]


def test_loud_fans_are_refused_and_kept_out_of_templates_sooner(pipelines: Pipelines, voices):
    def judged(snr_db: float, purpose: Purpose):
        recording = dataclasses.replace(voices["high"][0], pcm=in_noise(voices["high"][0].pcm, FANS["rack"], snr_db, 1))
        return pipelines.voice.assess(recording, purpose)

    assert judged(15, Purpose.ENROL).acceptable
    assert judged(6, Purpose.VERIFY).acceptable
    assert "quieter place" in " ".join(judged(6, Purpose.ENROL).reasons)
    assert "quieter place" in " ".join(judged(0, Purpose.VERIFY).reasons)


def test_more_noise_is_a_lower_quality(pipelines: Pipelines, voices):
    plain = voices["high"][0]
    noisy = [dataclasses.replace(plain, pcm=in_noise(plain.pcm, FANS["air flow"], snr, 1)) for snr in (15, 10, 5)]
    scores = [pipelines.voice.assess(one).score for one in (plain, *noisy)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1] + 30


def test_silence_is_not_called_noise(pipelines: Pipelines, voices):
    reasons = pipelines.voice.assess(changed(voices["low"][0], lambda pcm: pcm * 0.0)).reasons
    assert "Speak louder" in reasons[0]
    assert not any("quieter" in reason for reason in reasons)


def test_a_voice_on_the_telephone_matches_itself_and_no_other(pipelines: Pipelines, voices):
    calls = {
        name: [pipelines.voice.extract(telephone(one)).features for one in group] for name, group in voices.items()
    }
    template = enrol(pipelines.voice, calls["low"][:3])
    assert match(pipelines.voice, template, calls["low"][3]).accepted
    assert not any(match(pipelines.voice, template, one).accepted for one in calls["high"])


def test_the_length_of_an_embedding_tells_its_band_and_lowers_its_scores(pipelines: Pipelines, voices):
    wide = pipelines.voice.extract(voices["low"][0]).features.vector
    narrow = pipelines.voice.extract(telephone(voices["low"][0])).features.vector
    assert np.isclose(np.linalg.norm(wide / 32767), 1.0, atol=1e-3)
    assert np.isclose(np.linalg.norm(narrow / 32767), 0.95, atol=1e-3)
    compare = pipelines.voice.compare
    assert np.isclose(compare((wide,), (wide,)), 1.0, atol=1e-3)
    assert np.isclose(compare((narrow,), (narrow,)), 0.95**2, atol=1e-3)
    assert np.isclose(compare((narrow, wide), (wide,)), compare((wide,), (wide, narrow)))


def test_no_vector_scores_more_for_being_long(pipelines: Pipelines):
    long = np.full(192, 32_767, np.int16)
    assert pipelines.voice.compare((long,), (long,)) <= 1.0 + 1e-9


def test_the_same_call_gives_the_same_vector(pipelines: Pipelines, voices):
    one, other = (pipelines.voice.extract(telephone(voices["low"][0])).features.vector for _ in range(2))
    assert np.array_equal(one, other)


def test_a_sites_threshold_replaces_the_shipped_one(pipelines: Pipelines):
    strict = VoicePipeline(VoiceSettings(threshold=0.9)).threshold
    assert strict.accept == 0.9
    assert strict.typical > strict.accept
    assert pipelines.voice.threshold == VoicePipeline().threshold


def test_live_feedback_needs_no_model(voices):
    class NoEngine:
        """Fails whatever is asked of it."""

    assert VoicePipeline(engine=NoEngine()).assess(voices["low"][0]).acceptable


def test_blocks_are_joined_and_a_gap_between_them_is_kept_in_mind():
    pcm = np.arange(10, dtype=np.int16)
    blocks = [AudioBlock(pcm, 16_000, 0, 0), AudioBlock(pcm, 16_000, 1, 0)]
    joined = Recording.of(blocks)
    assert (len(joined.pcm), joined.rate, joined.lost) == (20, 16_000, False)
    assert Recording.of([blocks[0], dataclasses.replace(blocks[1], overflow=True)]).lost
    assert not Recording.of([dataclasses.replace(blocks[0], overflow=True), blocks[1]]).lost


@pytest.mark.parametrize("rates", [(), (16_000, 48_000), (4_000,)])
def test_no_sound_mixed_rates_and_odd_rates_are_refused(rates: tuple[int, ...]):
    with pytest.raises(BiometricError):
        Recording.of(AudioBlock(np.zeros(160, np.int16), rate, 0, 0) for rate in rates)


def test_a_very_long_recording_is_looked_at_in_part(pipelines: Pipelines, voices):
    long = dataclasses.replace(voices["low"][0], pcm=np.tile(voices["low"][0].pcm, 60))
    assert len(long.samples()) == 60 * 16_000
    assert len(speech.find(long.samples()).samples) == 15 * 16_000


@pytest.mark.slow
def test_the_report_tells_voice_from_noise_and_hum(voices):
    time = np.arange(48_000) / 16_000
    voice = examine(voices["high"][0])
    noise = examine(Recording(np.random.default_rng(0).normal(0, 3000, 48_000).astype(np.int16), 16_000))
    hum = examine(Recording((8000 * np.sin(2 * np.pi * 50 * time)).astype(np.int16), 16_000))
    silence = examine(Recording(np.zeros(48_000, np.int16), 16_000))
    assert voice.advice == ()
    assert 200 < voice.pitch_hz < 240
    assert "noise" in noise.advice[0]
    assert "hum" in hum.advice[0]
    assert silence.sounding_seconds == 0
