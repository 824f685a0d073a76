"""Pictures of captures: PNG with its resolution, a level plot and spectrogram, and blocks for the terminal."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

Pixels = NDArray[np.uint8]
"""uint8 `[height, width]` grey or `[height, width, 3]` BGR."""

_METRES_PER_INCH = 0.0254
_AFTER_IHDR = 8 + 25
"""PNG signature, and the IHDR chunk, which comes first (W3C PNG, 5.6)."""
_PLOT_WIDTH, _WAVE_HEIGHT, _SPECTRUM_HEIGHT = 800, 160, 256
_WINDOW_S = 0.032
_RANGE_DB = 80.0
_TRACE, _GROUND = 60, 255


def png(pixels: Pixels, dpi: int | None = None) -> bytes:
    """The picture as PNG; with `dpi` a pHYs chunk states it in pixels per metre."""
    good, encoded = cv2.imencode(".png", pixels)
    if not good:
        raise ValueError("the picture cannot be encoded")
    data = encoded.tobytes()
    if dpi is None:
        return data
    per_metre = round(dpi / _METRES_PER_INCH)
    return data[:_AFTER_IHDR] + _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)) + data[_AFTER_IHDR:]


def wav(pcm: NDArray[np.int16], rate: int) -> bytes:
    """Mono 16-bit WAV of int16 `[n]`."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue()


def sound_plot(pcm: NDArray[np.int16], rate: int) -> Pixels:
    """Waveform over spectrogram (0 to `rate`/2, 80 dB), uint8 `[416, 800, 3]`."""
    colours = cv2.applyColorMap(_spectrogram(pcm, rate), cv2.COLORMAP_MAGMA)
    trace = cv2.cvtColor(_waveform(pcm), cv2.COLOR_GRAY2BGR)
    return cast(Pixels, np.vstack([trace, colours]))


def _waveform(pcm: NDArray[np.int16]) -> Pixels:
    plot = np.full((_WAVE_HEIGHT, _PLOT_WIDTH), _GROUND, np.uint8)
    for column, part in enumerate(np.array_split(pcm.astype(np.float64) / 32768, _PLOT_WIDTH)):
        if len(part):
            top, bottom = (int((1 - value) / 2 * (_WAVE_HEIGHT - 1)) for value in (part.max(), part.min()))
            plot[top : bottom + 1, column] = _TRACE
    return plot


def _spectrogram(pcm: NDArray[np.int16], rate: int) -> Pixels:
    """Short-time power in dB below its maximum as grey, low frequencies at the bottom."""
    size = max(16, int(rate * _WINDOW_S))
    padded = np.pad(pcm.astype(np.float64), (0, max(0, size - len(pcm))))
    starts = np.linspace(0, len(padded) - size, _PLOT_WIDTH).astype(int)
    frames = np.stack([padded[start : start + size] for start in starts]) * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    decibels = 10 * np.log10(power / max(power.max(), 1e-9) + 1e-12)
    grey = np.clip((decibels / _RANGE_DB + 1) * 255, 0, 255).astype(np.uint8)
    return cast(Pixels, cv2.resize(grey.T[::-1], (_PLOT_WIDTH, _SPECTRUM_HEIGHT), interpolation=cv2.INTER_AREA))


def half_blocks(pixels: Pixels, columns: int, lines: int) -> Text:
    """The picture in `columns` by `lines` characters at the most, two pixels to a character."""
    height, width = pixels.shape[:2]
    scale = min(columns / width, 2 * lines / height, 1.0)
    size = max(1, int(width * scale)), max(2, int(height * scale) // 2 * 2)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR) if small.ndim == 2 else small
    text = Text(no_wrap=True)
    for upper, lower in zip(bgr[::2], bgr[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=_colour(above), bgcolor=_colour(below)))
        text.append("\n")
    return text


def _colour(bgr: NDArray[np.uint8]) -> Color:
    return Color.from_rgb(int(bgr[2]), int(bgr[1]), int(bgr[0]))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
