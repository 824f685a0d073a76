"""Synthesised voices before CAM++."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from simulators.personas import PersonaError
from simulators.personas._voice import EspeakVoice, _variants

STRINGS = ("40718259", "93318706", "55029164")


@pytest.fixture(scope="module")
def embeddings(personas, speaker_model):
    return {
        p.name: [speaker_model.embedding(p.say(digits, take)[0]) for take, digits in enumerate(STRINGS)]
        for p in personas
    }


def test_one_speaker_stays_near_itself_whatever_the_digits(embeddings):
    for vectors in embeddings.values():
        assert min(float(a @ b) for a, b in combinations(vectors, 2)) > 0.65


def test_two_speakers_are_kept_apart(embeddings):
    for one, other in combinations(embeddings.values(), 2):
        assert max(float(a @ b) for a in one for b in other) < 0.45


def test_eight_digits_are_three_seconds_of_speech(personas):
    for persona in personas:
        pcm, rate = persona.say("40718259", 0)
        blocks = np.abs(pcm[: pcm.size // 160 * 160].astype(int).reshape(-1, 160)).max(axis=1)
        assert np.sum(blocks > 400) * 160 / rate >= 3.0


def test_carelessness_is_quieter_and_noisier(personas):
    careful, hurried = (personas[0].say("40718259", 0, care)[0].astype(float) for care in (1.0, 0.2))
    lead = slice(0, 3000)
    assert np.abs(hurried).max() < 0.6 * np.abs(careful).max()
    assert hurried[lead].std() > 3 * careful[lead].std()


def test_other_digits_sound_otherwise(personas):
    one, other = (personas[0].say(digits, 0)[0] for digits in ("1111", "8888"))
    assert one.size != other.size or np.abs(one.astype(int) - other).mean() > 100


@pytest.mark.parametrize("text", ["", "12a", "1 2", "-1", "١٢"])
def test_only_digits_are_spoken(personas, text):
    with pytest.raises(PersonaError, match="digits 0 to 9"):
        personas[0].say(text, 0)


def test_a_missing_espeak_names_the_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    _variants.cache_clear()
    with pytest.raises(PersonaError, match="apt install espeak-ng"):
        EspeakVoice("Alicia", 50, 145, 1).say("1", 0)


def test_an_unknown_variant_is_refused_and_not_replaced_by_the_default_voice():
    with pytest.raises(PersonaError, match="no-such-variant"):
        EspeakVoice("no-such-variant", 50, 145, 1).say("1", 0)
