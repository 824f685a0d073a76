"""Child processes of the lab: started with a log file each, ended by their own pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

AGENT_VARIABLE = "KEYVIGIL_LAB_AGENT"
_LAST_LINES = 3


class LabError(Exception):
    """The lab cannot go on; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "Read the logs in the lab's folder (--keep keeps it).") -> None:
        super().__init__(message)
        self.remedy = remedy


def command(name: str) -> str:
    """Path of a command of this installation, which stands beside the interpreter.

    The agent's is the program that the environment variable `KEYVIGIL_LAB_AGENT` names, if it names one: agents of
    another version, to rehearse an upgrade. Raises `LabError` where that is no program.
    """
    other = os.environ.get(AGENT_VARIABLE, "") if name == "keyvigil" else ""
    if other and not os.access(other, os.X_OK):
        raise LabError(f"{AGENT_VARIABLE} names no program: {other}", "Name bin/keyvigil of a version, or unset it.")
    return other or os.fspath(Path(sys.executable).parent / name)


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 60) -> str:
    """Standard output of a command that must succeed; raises `LabError` with what it said."""
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{Path(argv[0]).name} did not run: {error}") from None
    if done.returncode != 0:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:])
        raise LabError(f"{Path(argv[0]).name} {argv[1]} ended with {done.returncode}: {said}")
    return done.stdout


@dataclass
class Child:
    """One running process."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> Child:
        """Start it; output goes to the log file."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    @property
    def pid(self) -> int:
        """Its process id; raises `LabError` when it was never started."""
        if self.process is None:
            raise LabError(f"{self.name} is not running")
        return self.process.pid

    def check(self) -> None:
        """Raise `LabError` with the end of the log when it has ended by itself."""
        if self.process is not None and (status := self.process.poll()) is not None:
            tail = self.log.read_text(errors="replace").strip().splitlines()[-_LAST_LINES:]
            raise LabError(f"{self.name} ended with {status}: " + " / ".join(tail))

    def stop(self, timeout: float = 8) -> None:
        """Ask it to end, and insist after `timeout` seconds."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        self.resume()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def pause(self) -> None:
        """Let it hear and do nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def peak_memory_mb(self) -> float | None:
        """Peak resident memory in MB (VmHWM), or None when it is not running."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except (OSError, LabError):
            return None
        found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(found[0]) / 1024 if found else None
