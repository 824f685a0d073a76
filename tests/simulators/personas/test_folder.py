"""Personas made of sample folders."""

from __future__ import annotations

from itertools import combinations, product

import cv2
import numpy as np
import pytest
import soundfile

from simulators.personas import PersonaError, folder_personas
from tests.simulators.personas.test_persona import write_samples


def test_impressions_walk_through_the_samples(tmp_path):
    person = folder_personas(write_samples(tmp_path, samples=3), 1)[0]
    touches = [person.finger(n)[0] for n in range(4)]
    assert not any(np.array_equal(a, b) for a, b in combinations(touches, 2))
    assert np.array_equal(touches[0], person.finger(0)[0])
    off = [np.abs(touches[3].astype(int) - touch).mean() for touch in touches[:3]]
    assert np.argmin(off) == 0  # the first one again, pressed anew


def test_sample_ten_comes_after_sample_nine(tmp_path):
    data = write_samples(tmp_path, samples=12)
    person = folder_personas(data, 1)[0]
    tenth = cv2.imread(str(data / "fingerprint/FVC2002_DB1_B/s0/10.png"), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(person.finger(10)[0], tenth)


def test_the_resolution_of_a_png_is_honoured(tmp_path):
    data = write_samples(tmp_path)
    path = data / "fingerprint/FVC2002_DB1_B/s0/0.png"
    content = path.read_bytes()
    chunk = b"\x00\x00\x00\x09pHYs" + (15157).to_bytes(4, "big") * 2 + b"\x01"
    import zlib

    at = content.find(b"IDAT") - 4
    path.write_bytes(content[:at] + chunk + zlib.crc32(chunk[4:]).to_bytes(4, "big") + content[at:])
    assert folder_personas(data, 1)[0].finger(0)[1] == 385


def test_isolated_digits_are_strung_together_and_utterances_are_not(tmp_path):
    data = write_samples(tmp_path)
    for digit in range(10):
        tone = 0.5 * np.sin(2 * np.pi * (300 + 50 * digit) * np.arange(4000) / 8000)
        folder = data / "voice/digits/s0"
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{digit}_0.wav", tone, 8000)
    digits = folder_personas(data, 1, {"voice": "digits"})[0]
    assert digits.say("123456", 0)[0].size > 1.8 * digits.say("123", 0)[0].size
    assert not np.array_equal(digits.say("111", 0)[0], digits.say("222", 0)[0])
    utterances = folder_personas(data, 1)[0]
    assert np.array_equal(utterances.say("111", 0)[0], utterances.say("222", 0)[0])


@pytest.mark.parametrize("missing", ["fingerprint", "face", "voice"])
def test_a_missing_set_is_named(tmp_path, missing):
    with pytest.raises(PersonaError, match=r"no folder .*elsewhere"):
        folder_personas(write_samples(tmp_path), 1, {missing: "elsewhere"})


def test_an_empty_data_folder_is_named(tmp_path):
    with pytest.raises(PersonaError, match=str(tmp_path)) as caught:
        folder_personas(tmp_path)
    assert "<modality>/<set>/<subject>/<sample>" in caught.value.remedy


def test_too_few_subjects_are_counted(tmp_path):
    with pytest.raises(PersonaError, match="2 subjects, 3 are needed"):
        folder_personas(write_samples(tmp_path, subjects=2), 3)


@pytest.mark.parametrize("path", ["fingerprint/FVC2002_DB1_B/s0/0.png", "voice/librispeech/s0/0.flac"])
def test_a_broken_sample_is_named(tmp_path, path):
    data = write_samples(tmp_path)
    (data / path).write_bytes(b"not a sample")
    person = folder_personas(data, 1)[0]
    with pytest.raises(PersonaError, match="not a sample that can be read"):
        person.finger(0) if "finger" in path else person.say("1", 0)


@pytest.mark.realdata
def test_real_people_are_themselves_and_nobody_else(real_data, finger_matcher, face_describer, speaker_model):
    people = folder_personas(real_data)
    fingers = [[finger_matcher.minutiae(p.finger(n)[0]) for n in range(4)] for p in people]
    faces = [[face_describer.descriptor(p.frame(t)) for t in (0.0, 2.0, 4.0)] for p in people]
    voices = [[speaker_model.embedding(p.say("40718259", take)[0]) for take in range(2)] for p in people]
    for k in range(len(people)):
        assert max(a.compare(b) for a, b in combinations(fingers[k], 2)) >= 40
        assert max(np.linalg.norm(a - b) for a, b in combinations(faces[k], 2)) < 0.6
        assert float(voices[k][0] @ voices[k][1]) > 0.5
    for j, k in combinations(range(len(people)), 2):
        assert max(a.compare(b) for a, b in product(fingers[j], fingers[k])) < 40
        assert min(np.linalg.norm(a - b) for a, b in product(faces[j], faces[k])) > 0.6
        assert max(float(a @ b) for a, b in product(voices[j], voices[k])) < 0.45


@pytest.mark.realdata
def test_other_sets_can_be_named(real_data):
    sets = {"fingerprint": "FVC2004_DB1_B", "face": "orl", "voice": "fsdd"}
    person = folder_personas(real_data, 1, sets)[0]
    assert person.finger(0)[0].shape == (480, 640)
    assert person.say("40718259", 0)[0].size > 3 * 16_000
