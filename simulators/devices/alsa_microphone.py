"""Microphones made of ALSA configuration: a PCM of type `file` whose input comes from a file or from a pipe.

The process that records needs nothing but the variables of `environment()`, set before it starts: libasound then knows
one PCM, and PortAudio one device. Both need no sound card, no daemon and no privilege.

What was found with libasound 1.2.8 and PortAudio 19.6 (V19.6.0-devel), and what follows from it here:

- `type file` over `type null` has no clock: a reader gets samples as fast as it takes them. `AlsaMicrophone` is
  therefore faster than time and repeatable to the bit; `LiveAlsaMicrophone` is paced, because its pipe is.
- At the end of the input the plugin hands out its last period again and again. An utterance is therefore followed by
  room noise, so that it is noise that repeats.
- Each opening reads the input from its start.
- PortAudio ends the process by an assertion when the configuration defines no PCM, or one single one. A second one,
  which cannot be opened and so is not listed, avoids it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hal import Clock, SystemClock
from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.sound import RATE, RoomNoise, Samples, SoundFaults, at_16_khz

LEAD_SECONDS = 0.3
TAIL_SECONDS = 2.0
_POLL_SECONDS = 0.005
_CONFIGURATION = """\
pcm."{device}" {{
    type file
    slave.pcm {{ type null }}
    file "/dev/null"
    infile "{source}"
    format "raw"
}}
pcm.absent {{ type hw card 99 }}
"""
_FORBIDDEN = frozenset('"\\\n\r$')


class AlsaMicrophone:
    """A microphone that replays one utterance from the start each time it is opened, faster than time.

    `folder` is made if it is missing and holds the configuration and the samples; `device` is the PCM's name.
    A fault is met by the next opening: `UNPLUG` takes the samples away, `CORRUPT` and `SHORT_READ` spoil them.
    """

    device = "keyvigil-sim"
    faults = frozenset({Fault.UNPLUG, Fault.CORRUPT, Fault.SHORT_READ})

    def __init__(self, folder: Path, noise: RoomNoise | None = None) -> None:
        self._noise = noise or RoomNoise()
        self._faults = SoundFaults()
        self._input = folder / "microphone.raw"
        self._configuration = _configure(folder, self.device, self._input)
        self._samples = b""
        self.silence()

    def environment(self) -> dict[str, str]:
        """The variables of the process that records."""
        return {"ALSA_CONFIG_PATH": str(self._configuration)}

    def speak(self, pcm: Samples, rate: int = RATE) -> None:
        """Say `pcm` from the next opening on: 0.3 s of room noise, `pcm`, 2 s of room noise.

        `pcm` is resampled to 16 kHz if `rate`, in samples per second, differs.
        """
        lead, tail = self._noise.seconds(LEAD_SECONDS), self._noise.seconds(TAIL_SECONDS)
        self._replace(np.concatenate([lead, at_16_khz(pcm, rate), tail]))

    def silence(self) -> None:
        """From the next opening on: room noise alone."""
        self._replace(self._noise.seconds(TAIL_SECONDS))

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault."""
        require_playable(self, order)
        self._faults.add(order)
        if order.fault is Fault.UNPLUG:
            self._input.unlink(missing_ok=True)
        else:
            self._write()

    def mend(self) -> None:
        """End every fault."""
        self._faults.clear()
        self._write()

    def _replace(self, samples: Samples) -> None:
        self._samples = samples.astype("<i2").tobytes()
        self._write()

    def _write(self) -> None:
        """A reader that has the old samples open keeps them; the next one gets the new ones, never a mixture."""
        fresh = self._input.with_suffix(".new")
        _write_private(fresh, self._faults.carry(self._samples)[0])
        fresh.replace(self._input)


class LiveAlsaMicrophone:
    """A microphone that runs in real time: room noise while it is open, and whatever is spoken meanwhile.

    `speed` 2 delivers two seconds of sound in one. What is spoken while nobody records waits, and begins 0.3 s after
    the microphone is opened, as a person begins who was asked to speak. Recording processes hang while they open it
    when this object is gone, so it must outlive them.

    Of the faults, `UNPLUG` takes the pipe away and leaves whoever records with silence on the wire;
    `STALL` delivers nothing; `SLOW` makes every piece of 60 ms later; `SHORT_READ` cuts pieces at any byte.
    """

    device = "keyvigil-sim"
    faults = frozenset({Fault.UNPLUG, Fault.STALL, Fault.SLOW, Fault.SHORT_READ, Fault.CORRUPT})
    # PortAudio reads whole blocks, and a pipe must never hand it less than one: 60 ms serve blocks of 5, 10, 15, 20,
    # 30 and 60 ms, and are short enough to be written at once (PIPE_BUF).
    _PIECE = RATE * 60 // 1000

    def __init__(
        self, folder: Path, speed: float = 1.0, noise: RoomNoise | None = None, clock: Clock | None = None
    ) -> None:
        self._noise = noise or RoomNoise()
        self._clock = clock or SystemClock()
        self._interval_ns = int(self._PIECE * 1e9 / RATE / speed)
        self._pipe = folder / "microphone.fifo"
        self._configuration = _configure(folder, self.device, self._pipe)
        self._pipe.unlink(missing_ok=True)
        os.mkfifo(self._pipe, 0o600)
        self._faults = SoundFaults()
        self._unplugged = threading.Event()
        self._lock = threading.Lock()
        self._spoken: deque[Samples] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-microphone")
        self._thread.start()

    def environment(self) -> dict[str, str]:
        """The variables of the process that records."""
        return {"ALSA_CONFIG_PATH": str(self._configuration)}

    def speak(self, pcm: Samples, rate: int = RATE) -> None:
        """Say `pcm` after whatever is still to be said; resampled to 16 kHz if `rate` differs."""
        with self._lock:
            self._spoken.append(at_16_khz(pcm, rate))

    def silence(self) -> None:
        """Forget what was not said yet."""
        with self._lock:
            self._spoken.clear()

    @property
    def speaking(self) -> bool:
        """Whether something is still to be said."""
        with self._lock:
            return bool(self._spoken)

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault."""
        require_playable(self, order)
        with self._lock:
            self._faults.add(order)
            if order.fault is Fault.UNPLUG:
                self._pipe.unlink(missing_ok=True)
                self._unplugged.set()

    def mend(self) -> None:
        """End every fault; after `UNPLUG` with a new pipe, and whoever still held the old one loses it."""
        self._faults.clear()
        self._plug_again()

    def stall(self) -> None:
        """Fault: stay open and deliver nothing."""
        self.inject(FaultOrder(Fault.STALL))

    def resume(self) -> None:
        """End `stall`."""
        self.mend()

    def close(self) -> None:
        """End the thread and the pipe; closing twice is allowed."""
        self._stop.set()
        self._thread.join()
        self._pipe.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        """Serve one recording process after the other; opening succeeds only while one waits at the other end."""
        while not self._stop.is_set():
            try:
                writer = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._stop.wait(_POLL_SECONDS)
                self._plug_again()
                continue
            try:
                # The smallest pipe there is (one page): noise from before a pause must not pile up in it.
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
                self._serve(writer)
            finally:
                os.close(writer)

    def _serve(self, writer: int) -> None:
        lead = round(LEAD_SECONDS * RATE / self._PIECE)
        due = self._clock.monotonic_ns()
        while not self._stop.is_set():
            if self._held_up():
                return
            piece, late = self._faults.carry(self._piece(lead <= 0).astype("<i2").tobytes())
            self._delay(late)
            lead -= 1
            if not self._write(writer, piece):
                return
            due = max(due + self._interval_ns, self._clock.monotonic_ns() - self._interval_ns)
            self._stop.wait(max(0, due - self._clock.monotonic_ns()) / 1e9)

    def _delay(self, seconds: float) -> None:
        """Be late, as long as the fault lasts."""
        until = self._clock.monotonic_ns() + int(seconds * 1e9)
        while self._clock.monotonic_ns() < until and self._faults.plays(Fault.SLOW):
            if self._stop.wait(_POLL_SECONDS):
                return

    def _plug_again(self) -> None:
        """Make the pipe anew where the fault that took it is over."""
        with self._lock:
            if self._unplugged.is_set() and not self._faults.plays(Fault.UNPLUG):
                os.mkfifo(self._pipe, 0o600)
                self._unplugged.clear()

    def _held_up(self) -> bool:
        """Wait while nothing may be delivered; true when the pipe is not the one it was."""
        unplugged = False
        while not self._stop.is_set() and (self._unplugged.is_set() or self._faults.plays(Fault.STALL)):
            unplugged = unplugged or self._unplugged.is_set()
            self._stop.wait(_POLL_SECONDS)
            self._plug_again()
        return unplugged

    def _write(self, writer: int, piece: bytes) -> bool:
        """Write all of `piece` at once when there is room for it; false when the reader left."""
        while not self._stop.is_set():
            try:
                os.write(writer, piece)
            except BlockingIOError:
                self._stop.wait(_POLL_SECONDS)
            except BrokenPipeError:
                return False
            else:
                return True
        return False

    def _piece(self, may_speak: bool) -> Samples:
        """The next 60 ms: speech as far as there is some, then noise."""
        piece = self._noise.samples(self._PIECE)
        filled = 0
        with self._lock:
            while may_speak and self._spoken and filled < len(piece):
                spoken = self._spoken.popleft()
                part = spoken[: len(piece) - filled]
                piece[filled : filled + len(part)] = part
                filled += len(part)
                if len(part) < len(spoken):
                    self._spoken.appendleft(spoken[len(part) :])
        return piece


def _configure(folder: Path, device: str, source: Path) -> Path:
    """Write the ALSA configuration; raises `ValueError` for a folder whose name ALSA's syntax cannot carry."""
    if _FORBIDDEN & set(str(source.absolute())):
        raise ValueError(
            f"the folder {str(folder)!r} has a character in its name that an ALSA configuration cannot hold"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder.absolute() / "asound.conf"
    text = _CONFIGURATION.format(device=device, source=source.absolute())
    _write_private(path, text.encode())
    return path


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
