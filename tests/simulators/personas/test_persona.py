"""What every persona keeps to, the shipped and those made of files alike."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from simulators.personas import Persona, folder_personas, shipped_personas


def write_samples(data: Path, subjects: int = 2, samples: int = 3) -> Path:
    """A data folder of noise: it has the layout, and nobody's finger, face or voice."""
    rng = np.random.default_rng(5)
    for subject in range(subjects):
        for modality, suffix in (("fingerprint/FVC2002_DB1_B", "png"), ("face/caltech_faces_easy", "jpg")):
            folder = data / modality / f"s{subject}"
            folder.mkdir(parents=True)
            for n in range(samples):
                cv2.imwrite(str(folder / f"{n}.{suffix}"), rng.integers(0, 255, (334, 290), np.uint8))
        folder = data / "voice/librispeech" / f"s{subject}"
        folder.mkdir(parents=True)
        for n in range(samples):
            soundfile.write(folder / f"{n}.flac", 0.1 * rng.standard_normal(16_000), 16_000)
    return data


@pytest.fixture(params=["shipped", "folder"])
def people(request, tmp_path) -> tuple[Persona, ...]:
    return shipped_personas() if request.param == "shipped" else folder_personas(write_samples(tmp_path), 2)


def test_names_are_unique_and_neutral(people):
    names = [person.name for person in people]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("persona-", "folder-")) for name in names)


@pytest.mark.parametrize("care", [1.0, 0.5, 0.0])
def test_samples_have_their_documented_form(people, care):
    person = people[-1]
    pixels, dpi = person.finger(0, care)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 2
    assert dpi == 500
    frame = person.frame(0.5, care)
    assert frame.dtype == np.uint8
    assert frame.shape == (480, 640, 3)
    pcm, rate = person.say("40718259", 0, care)
    assert pcm.dtype == np.int16
    assert pcm.ndim == 1
    assert rate == 16_000


def test_the_same_question_gets_the_same_answer(people):
    person = people[0]
    for care in (1.0, 0.4):
        assert np.array_equal(person.finger(3, care)[0], person.finger(3, care)[0])
        assert np.array_equal(person.frame(3.1, care), person.frame(3.1, care))
        assert np.array_equal(person.say("123", 2, care)[0], person.say("123", 2, care)[0])


def test_another_number_is_another_sample(people):
    person = people[0]
    assert not np.array_equal(person.finger(0)[0], person.finger(1)[0])
    assert not np.array_equal(person.frame(0.0), person.frame(0.2))
    assert not np.array_equal(person.say("123", 0)[0][:3000], person.say("123", 1)[0][:3000])


def test_no_sample_shows_in_a_representation(people):
    people[0].finger(0)
    people[0].frame(0.0)
    assert "array(" not in repr(people[0])
    assert len(repr(people[0])) < 700
