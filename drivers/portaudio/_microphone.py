"""A microphone that delivers mono blocks at one rate, whatever the device runs at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
import soxr
from numpy.typing import NDArray

from drivers.portaudio._backend import OPEN_STREAMS, Backend
from drivers.portaudio._claim import CardClaim
from drivers.portaudio._pace import Pace
from drivers.portaudio._recording import Chunk, Recording, StreamSettings
from hal import AudioBlock, Busy, Clock, Deadline, DeviceInfo, Disconnected, TimedOut

Samples = NDArray[np.int16]
_RELEASE_SECONDS, _RELEASE_SHARE, _RELEASE_LEAST = 1.0, 0.05, 0.01
"""Letting go of the device: a second, but past its deadline no more than a share of what the caller gave."""


class PortAudioMicrophone:
    """A `hal.Microphone`; the device is claimed while `blocks` is iterated, and released when the iterator is closed.

    `rate` is what the caller gets, in samples per second; `settings.rate` is what the device runs at.
    """

    def __init__(
        self,
        backend: Backend,
        settings: StreamSettings,
        info: DeviceInfo,
        rate: int,
        clock: Clock,
        claim: CardClaim | None = None,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._info = info
        self._rate = rate
        self._clock = clock
        self._claimed = claim
        self._lock = threading.Lock()
        self._recording: Recording | None = None
        self._closed = False

    @property
    def info(self) -> DeviceInfo:
        """Who and where the microphone is."""
        return self._info

    def blocks(self, deadline: Deadline) -> Iterator[AudioBlock]:
        """Blocks as they arrive; `overflow` marks one before which samples are missing.

        `captured_ns` is when a block's first sample was at the converter, as far as PortAudio knows the delay since.
        Raises `TimedOut` at the deadline or after a second without samples, `Disconnected` when the stream ends or the
        microphone is closed, `Busy` while another iterator of this microphone records.
        """
        deadline.check(f"recording from microphone {self._info.name!r}")
        release_seconds = max(_RELEASE_LEAST, min(_RELEASE_SECONDS, _RELEASE_SHARE * deadline.remaining()))
        OPEN_STREAMS.settle(deadline)
        recording = self._claim()
        try:
            pace = Pace(self._settings.rate)
            resampler = _Resampler(self._settings.rate, self._rate)
            sequence, lost = 0, False
            while True:
                chunk = recording.next(deadline)
                samples = _mono(chunk, self._settings.channels)
                lost = pace.lost(len(samples), chunk.arrived_ns) or chunk.overflow or lost
                pcm = resampler(samples)
                if len(pcm):
                    sequence += 1
                    yield AudioBlock(pcm, self._rate, sequence, chunk.captured_ns, lost)
                    lost = False
        except TimedOut:
            self._release(recording, release_seconds)
            raise
        finally:
            self._release(recording, _RELEASE_SECONDS)

    def _claim(self) -> Recording:
        with self._lock:
            if self._closed:
                raise Disconnected(f"microphone {self._info.name!r} was closed")
            if self._recording is not None:
                raise Busy(f"microphone {self._info.name!r} is recording already")
            self._recording = Recording(self._backend, self._settings, self._clock)
            return self._recording.__enter__()

    def _release(self, recording: Recording, seconds: float) -> None:
        with self._lock:
            if self._recording is not recording:
                return
            self._recording = None
        recording.close(seconds)

    def close(self) -> None:
        """Release the device; an iterator that still runs ends with `Disconnected`. Closing twice is allowed."""
        with self._lock:
            self._closed = True
            recording = self._recording
        if recording is not None:
            recording.close(_RELEASE_SECONDS)
        if self._claimed is not None:
            self._claimed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Resampler:
    """From the device's rate to the caller's, block after block without seams."""

    def __init__(self, device_rate: int, rate: int) -> None:
        self._stream = None if device_rate == rate else soxr.ResampleStream(device_rate, rate, 1, dtype="int16")

    def __call__(self, samples: Samples) -> Samples:
        return samples if self._stream is None else np.asarray(self._stream.resample_chunk(samples), np.int16)


def _mono(chunk: Chunk, channels: int) -> Samples:
    """The first channel: a mean of channels in opposite phase would cancel the voice."""
    return np.frombuffer(chunk.samples, np.int16)[::channels].copy()
