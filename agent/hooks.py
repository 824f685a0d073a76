"""Hook commands: an argument list run without a shell, JSON on standard input, a small environment, no secrets."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agent.errors import AgentError

_LARGEST_ANSWER = 64 * 1024
_SLICE_S = 0.25
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR", "DISPLAY", "WAYLAND_DISPLAY")


class HookFailed(AgentError):
    """A hook could not be started or did not end in time."""

    default_remedy = "Run the hook by hand with the JSON of docs/agent.md on its standard input."


@dataclass(frozen=True)
class HookAnswer:
    """Exit status of a hook, and the beginning of its standard output."""

    status: int
    output: bytes


def run_hook(
    argv: Sequence[str],
    message: bytes,
    timeout_s: float,
    abort: threading.Event | None = None,
    largest: int = _LARGEST_ANSWER,
) -> HookAnswer:
    """Run a hook to its end; raises `HookFailed` when it cannot start, is too slow, or `abort` is set.

    It gets `message` on standard input and a small environment (PATH, locale, home, display); its standard error goes
    to the agent's. Of its output the first `largest` bytes are kept. A hook that is too slow is killed with all its
    children.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        process = subprocess.Popen(
            list(argv),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            close_fds=True,
        )
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or error
        raise HookFailed(f"the hook {argv[0]!r} cannot be run: {cause}") from None
    with process, _Exchange(process, message, largest) as exchange:
        _finish(process, exchange, timeout_s, abort)
    return HookAnswer(process.returncode, bytes(exchange.output))


def _finish(
    process: subprocess.Popen[bytes], exchange: _Exchange, timeout_s: float, abort: threading.Event | None
) -> None:
    """Wait in short slices, so that an agent that ends does not wait for its hook."""
    give_up = time.monotonic() + timeout_s
    while not exchange.over(max(0.0, min(_SLICE_S, give_up - time.monotonic()))):
        if time.monotonic() >= give_up or (abort is not None and abort.is_set()):
            _kill(process)
            raise HookFailed(f"the hook {process.args[0]!r} was stopped: it did not end in time")  # type: ignore[index]


class _Exchange:
    """Feeds a process and keeps the beginning of what it prints.

    A descendant that left the process group may hold the pipes open for ever, so nothing here waits for their end
    without a limit.
    """

    def __init__(self, process: subprocess.Popen[bytes], message: bytes, largest: int) -> None:
        self._process = process
        self._largest = largest
        self._message = memoryview(message)
        self._selector = selectors.DefaultSelector()
        self.output = bytearray()
        for pipe, events in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, events)

    def __enter__(self) -> _Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    def over(self, seconds: float) -> bool:
        """Whether the process has ended and its output with it, after waiting for at most `seconds`."""
        if not self._selector.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return self._process.returncode is not None
        for key, events in self._selector.select(seconds):
            done = self._feed(key.fd) if events & selectors.EVENT_WRITE else self._take(key.fd)
            if done:
                self._selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
        return False

    def _feed(self, descriptor: int) -> bool:
        try:
            self._message = self._message[os.write(descriptor, self._message) :]
        except BlockingIOError:
            return False
        except OSError:
            return True
        return not self._message

    def _take(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _LARGEST_ANSWER)
        self.output += chunk[: self._largest - len(self.output)]
        return not chunk


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
