"""A microphone behind a sound server: a PulseAudio of its own, in user space, without D-Bus and without a card.

A null sink plays into nothing; what a source remaps from its monitor is the microphone. PortAudio reaches it through
ALSA's `pulse` plugin (package libasound2-plugins) and needs nothing but the variables of `environment()`. Unlike the
ALSA microphones it has a clock of its own, hides overruns, and can die.

What was found with PulseAudio 16.1: samples of the server's own rate arrive unaltered; a stream whose source goes away
is moved to any other source that is left, so the whole device has to go for it to end.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.sound import RATE, RoomNoise, Samples, SoundFaults, at_rate

LEAD_SECONDS = 0.3
_START_SECONDS = 10.0
_POLL_SECONDS = 0.01
_CONFIGURATION = """\
pcm."{device}" {{
    type pulse
    server "unix:{socket}"
    device "{source}"
}}
pcm.absent {{ type hw card 99 }}
"""
_CLIENT = """\
autospawn = no
cookie-file = {cookie}
enable-shm = no
"""
_SINK, _SOURCE = "room", "microphone"


class PulseMicrophone:
    """A microphone that runs in real time: room noise, and whatever is spoken while somebody records.

    `rate` is the server's own, in samples per second. What is spoken while nobody records waits, and begins 0.3 s after
    recording began. `latency_ms` is how far ahead sound is handed to the server: what it has ready when this process is
    held up. Raises `FileNotFoundError` where PulseAudio is not installed, `TimeoutError` when it does not start.

    Of the faults, `UNPLUG` removes the device from the server, `SERVER_DEATH` kills the server, `STALL` stops it,
    `SLOW` stops it for `seconds` out of every twice as many, `CORRUPT` alters bytes of samples and `SHORT_READ` loses
    the ends of pieces of 20 ms.
    """

    device = "keyvigil-pulse"
    faults = frozenset({Fault.UNPLUG, Fault.SERVER_DEATH, Fault.STALL, Fault.SLOW, Fault.CORRUPT, Fault.SHORT_READ})

    def __init__(self, folder: Path, rate: int = RATE, latency_ms: int = 300, noise: RoomNoise | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder.absolute()
        self._home = tempfile.TemporaryDirectory(prefix="pulse-")
        self._socket = Path(self._home.name) / "native"
        self._rate = rate
        self._noise = noise or RoomNoise()
        self._faults = SoundFaults()
        self._queue = _Queue()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._rhythm: _Rhythm | None = None
        _write_configuration(self._folder, self._socket, self.device)
        self._server = self._start_server()
        self._feeder = _Feeder(self._client("pacat", *self._playing(latency_ms)), self._next_piece, self._closed)
        self._listeners = _Listeners(self._client("pactl", "subscribe"), self._closed)
        try:
            self._feeder.start()
            self._listeners.start()
        except BaseException:
            self.close()
            raise

    def environment(self) -> dict[str, str]:
        """The variables of the process that records."""
        return {
            "ALSA_CONFIG_PATH": str(self._folder / "asound.conf"),
            "PULSE_CLIENTCONFIG": str(self._folder / "client.conf"),
        }

    def speak(self, pcm: Samples, rate: int = RATE) -> None:
        """Say `pcm` (int16 `[n]`, `rate` samples per second) after whatever is still to be said."""
        self._queue.add(at_rate(pcm, rate, self._rate))

    def silence(self) -> None:
        """Forget what was not said yet."""
        self._queue.clear()

    @property
    def speaking(self) -> bool:
        """Whether something is still to be said."""
        return bool(self._queue)

    @property
    def recorded(self) -> bool:
        """Whether somebody records now."""
        return self._listeners.since() is not None

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; one that hits the server lasts until it is mended."""
        require_playable(self, order)
        with self._lock:
            self._faults.add(order)
            if order.fault is Fault.SERVER_DEATH:
                self._end_server()
                self._feeder.stop()
                self._listeners.stop()
            elif order.fault is Fault.STALL:
                self._server.send_signal(signal.SIGSTOP)
            elif order.fault is Fault.SLOW:
                self._rhythm = self._rhythm or _Rhythm(self._server, order.seconds)
            elif order.fault is Fault.UNPLUG:
                self._unload_device()

    def mend(self) -> None:
        """End every fault, with a new server or device where the old one is gone."""
        with self._lock:
            self._faults.clear()
            if self._rhythm:
                self._rhythm.stop()
                self._rhythm = None
            if self._server.poll() is not None:
                self._server = self._start_server()
            self._server.send_signal(signal.SIGCONT)
            self._load_device()
            self._feeder.start()
            self._listeners.start()

    def close(self) -> None:
        """End the server and all that speaks to it; closing twice is allowed."""
        with self._lock:
            self._closed.set()
            if self._rhythm:
                self._rhythm.stop()
            self._end_server()
            self._feeder.stop()
            self._listeners.stop()
            self._home.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_server(self) -> subprocess.Popen[bytes]:
        """A server whose device is there; one that nobody is connected to any more ends by itself."""
        self._socket.unlink(missing_ok=True)
        server = subprocess.Popen(
            [
                *(_installed("pulseaudio"), "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=20"),
                *("--log-target=stderr", "--log-level=error"),
                *("-L", f"module-native-protocol-unix auth-anonymous=1 socket={self._socket}"),
                *(word for module in self._modules() for word in ("-L", " ".join(module))),
            ],
            env=self._server_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + _START_SECONDS
        while not self._socket.exists():
            if server.poll() is not None or time.monotonic() > until:
                server.kill()
                server.wait()
                raise TimeoutError("PulseAudio did not start")
            self._closed.wait(_POLL_SECONDS)
        return server

    def _end_server(self) -> None:
        self._server.kill()
        self._server.wait()

    def _modules(self) -> tuple[tuple[str, ...], ...]:
        form = (f"rate={self._rate}", "channels=1", "format=s16le")
        return (
            ("module-null-sink", f"sink_name={_SINK}", "norewinds=1", *form),
            ("module-remap-source", f"source_name={_SOURCE}", f"master={_SINK}.monitor", *form),
        )

    def _unload_device(self) -> None:
        self._feeder.stop()
        for name in ("module-remap-source", "module-null-sink"):
            self._control("unload-module", name, check=False)

    def _load_device(self) -> None:
        loaded = self._control("list", "short", "modules")
        for module in self._modules():
            if module[0].encode() not in loaded:
                self._control("load-module", *module)

    def _control(self, *arguments: str, check: bool = True) -> bytes:
        command = self._client("pactl", *arguments)
        return subprocess.run(command, capture_output=True, timeout=_START_SECONDS, check=check).stdout

    def _playing(self, latency_ms: int) -> tuple[str, ...]:
        form = ("--raw", "--format=s16le", f"--rate={self._rate}", "--channels=1")
        return ("--playback", *form, f"--device={_SINK}", f"--latency-msec={latency_ms}")

    def _client(self, program: str, *arguments: str) -> list[str]:
        """A command that speaks to this server; libpulse writes nothing outside the folder."""
        variables = [f"{name}={value}" for name, value in self._server_environment().items()]
        return [_installed("env"), *variables, _installed(program), f"--server=unix:{self._socket}", *arguments]

    def _server_environment(self) -> dict[str, str]:
        folder = self._home.name
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": folder,
            "LC_ALL": "C",
            "PULSE_CLIENTCONFIG": str(self._folder / "client.conf"),
            "PULSE_RUNTIME_PATH": folder,
            "XDG_RUNTIME_DIR": folder,
        }

    def _next_piece(self) -> bytes:
        """The next 20 ms: speech as far as there is some and somebody has listened long enough, then noise."""
        since = self._listeners.since()
        heard = since is not None and time.monotonic() - since >= LEAD_SECONDS
        piece = self._noise.samples(self._rate // 50)
        if heard:
            self._queue.fill(piece)
        return self._faults.carry(piece.astype("<i2").tobytes())[0]


class _Queue:
    """What is still to be said. Every method is thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spoken: deque[Samples] = deque()

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._spoken)

    def add(self, pcm: Samples) -> None:
        with self._lock:
            self._spoken.append(pcm)

    def clear(self) -> None:
        with self._lock:
            self._spoken.clear()

    def fill(self, piece: Samples) -> None:
        """Put speech over the noise in `piece`."""
        filled = 0
        with self._lock:
            while self._spoken and filled < len(piece):
                spoken = self._spoken.popleft()
                part = spoken[: len(piece) - filled]
                piece[filled : filled + len(part)] = part
                filled += len(part)
                if len(part) < len(spoken):
                    self._spoken.appendleft(spoken[len(part) :])


class _Feeder:
    """Plays pieces of sound without end; the player takes them in real time."""

    def __init__(self, command: list[str], piece: Callable[[], bytes], closed: threading.Event) -> None:
        self._command = command
        self._piece = piece
        self._closed = closed
        self._player: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Play, if the player is not at it already."""
        if self._player is not None and self._player.poll() is None:
            return
        self.stop()
        self._player = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0
        )
        self._thread = threading.Thread(target=self._run, args=(self._player,), name="pulse-feeder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the player and the thread."""
        if self._player is not None:
            self._player.kill()
            self._player.wait()
        if self._thread is not None:
            self._thread.join()

    def _run(self, player: subprocess.Popen[bytes]) -> None:
        if player.stdin is None:
            return
        with suppress(OSError), player.stdin as pipe:
            # The smallest pipe there is: what is spoken shall not wait behind seconds of noise.
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
            while not self._closed.is_set():
                pipe.write(self._piece())


class _Listeners:
    """Who records at the moment, as the server tells it."""

    def __init__(self, command: list[str], closed: threading.Event) -> None:
        self._command = command
        self._closed = closed
        self._lock = threading.Lock()
        self._present: set[bytes] = set()
        self._since: float | None = None
        self._reporter: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    def since(self) -> float | None:
        """Since when, in monotonic seconds, somebody has been recording without a break; `None` while nobody does."""
        with self._lock:
            return self._since

    def start(self) -> None:
        """Listen to the server, if that is not being done already."""
        if self._reporter is not None and self._reporter.poll() is None:
            return
        self.stop()
        self._reporter = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._thread = threading.Thread(target=self._run, args=(self._reporter,), name="pulse-listeners", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the reports; nobody records any more."""
        if self._reporter is not None:
            self._reporter.kill()
            self._reporter.wait()
        if self._thread is not None:
            self._thread.join()

    def _run(self, reporter: subprocess.Popen[bytes]) -> None:
        if reporter.stdout is not None:
            with reporter.stdout as lines:
                for line in lines:
                    self._note(line.split())
        with self._lock:
            self._present.clear()
            self._since = None

    def _note(self, words: list[bytes]) -> None:
        """A line such as: Event 'new' on source-output #5."""
        if len(words) != 5 or words[3] != b"source-output":
            return
        with self._lock:
            if words[1] == b"'new'":
                self._present.add(words[4])
                self._since = self._since or time.monotonic()
            elif words[1] == b"'remove'":
                self._present.discard(words[4])
                self._since = self._since if self._present else None


class _Rhythm:
    """Stops a process for some seconds, lets it go on for as long, and so on."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._process = process
        self._seconds = max(seconds, _POLL_SECONDS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse-rhythm", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the process go on."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            self._process.send_signal(signal.SIGSTOP)
            self._over.wait(self._seconds)
            self._process.send_signal(signal.SIGCONT)
            self._over.wait(self._seconds)


def _installed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(f"{program} is not installed: sudo apt-get install pulseaudio pulseaudio-utils")
    return path


def _write_configuration(folder: Path, socket: Path, device: str) -> None:
    """What libasound and libpulse of the recording process read."""
    if set('"\\\n\r$ ') & set(str(socket)):
        raise ValueError(f"the folder {str(folder)!r} has a character in its name that a configuration cannot hold")
    (folder / "asound.conf").write_text(_CONFIGURATION.format(device=device, socket=socket, source=_SOURCE))
    (folder / "client.conf").write_text(_CLIENT.format(cookie=folder / "cookie"))
