"""PortAudio's Python binding, loaded when first needed, and its errors in our terms."""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hal import (
    Busy,
    Deadline,
    DeviceError,
    Disconnected,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Unsupported,
)

_BINDING = "sounddevice"
Backend = Any
"""The module `sounddevice`, or something that offers the same calls."""

_HOST_ERROR = -9999
_SETTLE_SECONDS = 1.0
_TRIAL_SECONDS = 5
_SERVER_REMEDY = "Restart the sound server (pulseaudio, pipewire), then try again."
_CONFIGURATION_REMEDY = (
    "Mend the ALSA configuration (/etc/asound.conf, ~/.asoundrc, or what ALSA_CONFIG_PATH names); "
    "that of the system comes back with `sudo apt-get install --reinstall libasound2-data`."
)
_PORTAUDIO: dict[int, type[DeviceError]] = {
    -9998: Unsupported,
    -9997: Unsupported,
    -9996: NotFound,
    -9994: Unsupported,
    -9993: NotFound,
    -9987: TimedOut,
    -9985: Busy,
}
"""portaudio.h: invalid channel count, rate, device; sample format; ALSA cannot open it; timed out; unavailable."""

_REMEDIES = {
    NotFound: "Check that the microphone is attached and that its sound server (pulseaudio, pipewire) runs.",
    Disconnected: "Check the microphone's cable and its sound server (pulseaudio, pipewire), then try again.",
}

_ALSA: dict[int, type[DeviceError]] = {
    errno.EBUSY: Busy,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.ENOENT: NotFound,
    errno.ENODEV: Disconnected,
    errno.ENXIO: Disconnected,
    errno.EIO: Disconnected,
    errno.EPIPE: Disconnected,
    errno.ECONNREFUSED: NotFound,
    errno.ETIMEDOUT: TimedOut,
    errno.EINVAL: Unsupported,
}


def load_backend() -> Backend:
    """Import `sounddevice`, which initialises PortAudio and reads the ALSA configuration; raises `Unsupported`.

    PortAudio aborts the process where the ALSA configuration has nothing that it looks for, so that the first import of
    a process is tried in a child.
    """
    if _BINDING not in sys.modules:
        require_alsa_configuration(os.environ.get("ALSA_CONFIG_PATH", ""))
        _try_in_a_child()
    try:
        return importlib.import_module(_BINDING)
    except ImportError:
        raise Unsupported(
            "the Python package sounddevice is not installed", remedy="Install it: pip install 'keyvigil[voice]'."
        ) from None
    except OSError:
        raise Unsupported(
            "the PortAudio library is not installed", remedy="Install it: apt-get install libportaudio2."
        ) from None


def require_alsa_configuration(path: str) -> None:
    """Raise `Unsupported` when `path`, files or folders with ":" between them, names none that can be read."""
    if path and not any(os.access(part, os.R_OK) for part in path.split(":") if part):
        raise Unsupported(
            f"ALSA_CONFIG_PATH names no readable file: {path}",
            remedy="Correct the variable ALSA_CONFIG_PATH, or unset it to use the configuration of the system.",
        )


def _try_in_a_child() -> None:
    """Raise `Unsupported` when PortAudio ends the process that loads it, `TimedOut` when it does not come up.

    What else goes wrong there goes wrong again here, and is told then. The alarm ends a child whose parent ended first.
    """
    alarm = f"import signal; signal.alarm({_TRIAL_SECONDS + 1}); import {_BINDING}"
    argv = [sys.executable, "-P", "-c", alarm]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimedOut("PortAudio does not start: the sound system does not answer", remedy=_SERVER_REMEDY) from None
    except OSError:
        return
    if done.returncode < 0:
        raise Unsupported(
            f"PortAudio ends every program that loads it (signal {-done.returncode})", remedy=_CONFIGURATION_REMEDY
        )


class OpenStreams:
    """How many streams of this process are open; PortAudio can look for new devices only while there is none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._leaving: list[threading.Thread] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold while a stream is open."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1

    def leaving(self, thread: threading.Thread) -> None:
        """Note a stream whose thread was not waited for."""
        with self._lock:
            self._leaving.append(thread)

    def settle(self, deadline: Deadline) -> None:
        """Let streams that were left end first, so that their devices are free; one that hangs is waited for once."""
        with self._lock:
            leaving, self._leaving = self._leaving, []
        within = deadline.within(_SETTLE_SECONDS)
        for thread in leaving:
            thread.join(within.remaining())

    def rescan(self, backend: Backend) -> None:
        """Let PortAudio read its devices anew, if no stream is open: it otherwise keeps to those of its start."""
        with self._lock:
            if self._count == 0:
                backend._terminate()
                backend._initialize()


OPEN_STREAMS = OpenStreams()
"""PortAudio's state belongs to the process, so this does."""


@atexit.register
def _settle_at_the_end() -> None:
    """A stream that is still being let go calls back into Python, which must not be gone then."""
    OPEN_STREAMS.settle(Deadline.after(_SETTLE_SECONDS))


def forgo_termination() -> None:
    """Do not terminate PortAudio when the process ends: with a call that hangs, the end would hang too."""
    handler = getattr(sys.modules.get(_BINDING), "_exit_handler", None)
    if handler is not None:
        atexit.unregister(handler)


def translate(error: Exception, what: str) -> DeviceError:
    """A `sounddevice.PortAudioError` (text, code, host error) as the `DeviceError` it amounts to.

    A host error of another kind is what libasound says of a device that was there and is not any more.
    """
    code = error.args[1] if len(error.args) > 1 else 0
    kind = _PORTAUDIO.get(code, ProtocolError)
    if code == _HOST_ERROR and len(error.args) > 2:
        kind = _ALSA.get(-error.args[2][1], Disconnected)
    return kind(f"{what}: {error.args[0] if error.args else error}", remedy=_REMEDIES.get(kind))
