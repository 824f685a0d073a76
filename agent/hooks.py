"""Hook commands: an argument list run without a shell, JSON on standard input, a small environment, no secrets."""

from __future__ import annotations

import contextlib
import os
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
    """Exit status and standard output (at most 64 KiB) of a hook."""

    status: int
    output: bytes


def run_hook(argv: Sequence[str], message: bytes, timeout_s: float, abort: threading.Event | None = None) -> HookAnswer:
    """Run a hook to its end; raises `HookFailed` when it cannot start, is too slow, or `abort` is set.

    It gets `message` on standard input and a small environment (PATH, locale, home, display); its standard error goes
    to the agent's. A hook that is too slow is killed with all its children.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            close_fds=True,
        )
    except OSError as error:
        raise HookFailed(f"the hook {argv[0]!r} cannot be run: {error.strerror}") from None
    with process:
        output = _converse(process, message, timeout_s, abort)
    return HookAnswer(process.returncode, output[:_LARGEST_ANSWER])


def _converse(
    process: subprocess.Popen[bytes], message: bytes, timeout_s: float, abort: threading.Event | None
) -> bytes:
    """What the process printed; waits in short slices, so that an agent that ends does not wait for its hook."""
    give_up = time.monotonic() + timeout_s
    pending: bytes | None = message
    while True:
        slice_s = max(0.0, min(_SLICE_S, give_up - time.monotonic()))
        try:
            return process.communicate(pending, timeout=slice_s)[0]
        except subprocess.TimeoutExpired:
            pending = None
        if time.monotonic() >= give_up or (abort is not None and abort.is_set()):
            _kill(process)
            process.communicate()
            raise HookFailed(f"the hook {process.args[0]!r} was stopped: it did not end in time")  # type: ignore[index]


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
