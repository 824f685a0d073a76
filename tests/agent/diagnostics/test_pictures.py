from __future__ import annotations

import io
import struct
import wave

import cv2
import numpy as np
from PIL import Image

from agent.diagnostics.pictures import half_blocks, png, sound_plot, wav

RATE = 16_000


def grey() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (48, 64), dtype=np.uint8)


def test_a_png_says_its_resolution_to_an_independent_reader() -> None:
    picture = Image.open(io.BytesIO(png(grey(), 512)))
    picture.load()
    assert np.array_equal(np.asarray(picture), grey())
    assert [round(dpi) for dpi in picture.info["dpi"]] == [512, 512]


def test_a_png_without_resolution_says_none() -> None:
    assert "dpi" not in Image.open(io.BytesIO(png(grey()))).info


def test_a_wav_holds_every_sample() -> None:
    pcm = np.random.default_rng(1).integers(-32768, 32767, 1000, dtype=np.int16)
    with wave.open(io.BytesIO(wav(pcm, RATE))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        assert np.array_equal(np.frombuffer(file.readframes(1000), "<i2"), pcm)


def test_the_spectrogram_shows_a_tone_where_it_is() -> None:
    """4 kHz of 8 kHz is the middle of the spectrogram, which lies below the waveform."""
    pcm = (10_000 * np.sin(2 * np.pi * 4000 * np.arange(RATE) / RATE)).astype(np.int16)
    plot = cv2.cvtColor(sound_plot(pcm, RATE), cv2.COLOR_BGR2GRAY)
    assert plot.shape == (416, 800)
    brightest = int(plot[160:, 400].argmax())
    assert abs(brightest - 128) < 6


def test_very_short_sounds_are_drawn() -> None:
    for count in (0, 1, 100):
        assert sound_plot(np.zeros(count, np.int16), RATE).shape == (416, 800, 3)


def test_half_blocks_keep_proportions_and_colours() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:50] = (0, 0, 255)
    text = half_blocks(picture, 40, 40)
    lines = text.plain.rstrip("\n").split("\n")
    assert {len(line) for line in lines} == {40}
    assert len(lines) == 10
    first, last = text.spans[0].style, text.spans[-1].style
    assert (first.color.triplet, last.color.triplet) == ((255, 0, 0), (0, 0, 0))


def test_the_resolution_chunk_stands_before_the_picture() -> None:
    data = png(grey(), 500)
    (length,) = struct.unpack(">I", data[33:37])
    assert (data[12:16], data[37:41], length) == (b"IHDR", b"pHYs", 9)
