"""One open PortAudio stream."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from drivers.portaudio._backend import OPEN_STREAMS, Backend, forgo_termination, translate
from hal import Clock, Deadline, DeviceError, Disconnected, PermissionDenied, TimedOut

_LOG = logging.getLogger(__name__)
_STALL_SECONDS = 1.0
_JOIN_SECONDS = 1.0
_QUEUE_SECONDS = 10
_RETRY_SECONDS = 0.1
_OLDEST_SECONDS = 2.0
_NO_CALLBACK = "this process may make no code at run time, which PortAudio's binding needs to be called back"
_CALLBACK_REMEDY = "Give the agent's unit the drop-in microphone.conf (docs/packages.md): MemoryDenyWriteExecute=no."


@dataclass(frozen=True)
class StreamSettings:
    """What PortAudio is asked for: `device` is its index, `block` the samples per channel in one callback."""

    device: int
    rate: int
    channels: int
    block: int
    name: str


@dataclass(frozen=True)
class Chunk:
    """Interleaved int16 samples in host order as PortAudio delivered them; `overflow` is PortAudio's own flag.

    Both times are monotonic: when the samples came, and when the first of them was at the converter.
    """

    samples: bytes
    arrived_ns: int
    captured_ns: int
    overflow: bool


class Recording:
    """A stream from opening to release; a context manager.

    A thread of its own makes every call into PortAudio, some of which never return when a device hangs. A consumer
    that lags ten seconds behind makes the callback wait: a real device then loses samples and says so, an unpaced one
    just waits.
    """

    def __init__(self, backend: Backend, settings: StreamSettings, clock: Clock) -> None:
        self._backend = backend
        self._settings = settings
        self._clock = clock
        self._changed = threading.Condition()
        self._chunks: deque[Chunk] = deque()
        self._limit = _QUEUE_SECONDS * settings.rate // settings.block
        self._failure: DeviceError | None = None
        self._closing = False
        self._captured_ns = 0
        self._thread = threading.Thread(target=self._run, name="microphone-stream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(_JOIN_SECONDS)

    def next(self, deadline: Deadline) -> Chunk:
        """The next block; raises `TimedOut` at the deadline or after a second of nothing, `Disconnected`."""
        name = self._settings.name
        stall = deadline.within(_STALL_SECONDS)
        with self._changed:
            while True:
                deadline.check(f"recording from microphone {name!r}")
                if self._chunks:
                    self._changed.notify_all()
                    return self._chunks.popleft()
                if self._failure is not None:
                    raise self._failure
                if stall.remaining() <= 0:
                    raise TimedOut(f"microphone {name!r} delivers nothing")
                self._changed.wait(stall.remaining())

    def close(self, seconds: float) -> None:
        """Release the device; returns within `seconds` even when PortAudio does not. Closing twice is allowed."""
        with self._changed:
            self._closing = True
            self._chunks.clear()
            self._fail(Disconnected(f"microphone {self._settings.name!r} was closed"))
        self._thread.join(seconds)
        if self._thread.is_alive():
            OPEN_STREAMS.leaving(self._thread)
            forgo_termination()
            _LOG.warning("microphone %s is slow to let go; it is released when PortAudio returns", self._settings.name)

    def _run(self) -> None:
        """The stream's thread: open, wait for the end, release."""
        name = self._settings.name
        try:
            with OPEN_STREAMS.one():
                self._record()
        except self._backend.PortAudioError as error:
            self._fail(translate(error, f"microphone {name!r}"))
        except MemoryError:
            self._fail(PermissionDenied(f"microphone {name!r}: {_NO_CALLBACK}", remedy=_CALLBACK_REMEDY))
        finally:
            self._fail(Disconnected(f"microphone {name!r} stopped"))

    def _record(self) -> None:
        stream = self._backend.RawInputStream(
            device=self._settings.device,
            samplerate=self._settings.rate,
            channels=self._settings.channels,
            dtype="int16",
            blocksize=self._settings.block,
            latency="high",
            callback=self._receive,
            finished_callback=self._finished,
        )
        try:
            stream.start()
            with self._changed:
                self._changed.wait_for(lambda: self._closing)
        finally:
            stream.abort(ignore_errors=True)
            stream.close(ignore_errors=True)

    def _receive(self, samples: Any, frames: int, time: Any, status: Any) -> None:  # noqa: ARG002
        """PortAudio's callback, in PortAudio's thread."""
        arrived_ns = self._clock.monotonic_ns()
        self._captured_ns = max(self._captured_ns + 1, arrived_ns - int(self._age(time) * 1e9))
        chunk = Chunk(bytes(samples), arrived_ns, self._captured_ns, bool(status.input_overflow))
        with self._changed:
            while len(self._chunks) >= self._limit and not self._closing:
                self._changed.wait(_RETRY_SECONDS)
            if self._closing:
                raise self._backend.CallbackAbort
            self._chunks.append(chunk)
            self._changed.notify_all()

    def _age(self, time: Any) -> float:
        """How many seconds ago the first sample of a block was at the converter: as PortAudio says, else its length."""
        said = float(time.currentTime - time.inputBufferAdcTime) if time is not None else 0.0
        return said if 0 < said < _OLDEST_SECONDS else self._settings.block / self._settings.rate

    def _finished(self) -> None:
        """PortAudio tells that the stream ended, asked or not."""
        self._fail(Disconnected(f"microphone {self._settings.name!r} ended its stream"))

    def _fail(self, error: DeviceError) -> None:
        """Keep the first failure; it is what a reader is told."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
