"""The lab's network over the kernel's ESP: of this kernel, or of one that runs as a process (User-Mode Linux).

    python -m simulators.lab.network.esp FOLDER

is what runs in the latter: it reads `options.json`, writes what happens to `events` line by line, and `report.json`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from simulators.lab import user_mode
from simulators.lab.demo import make_folder
from simulators.lab.network.course import Course, Moment
from simulators.lab.network.report import Report
from simulators.lab.network.run import NetworkOptions, run_network, save_course
from simulators.lab.processes import LabError

_LOOK_S = 0.2
_SITE = Path("/run/site")
_BASE_MB, _NODE_MB = 900, 250
_TRIAL = [
    *("unshare", "--net", "ip", "xfrm", "state", "add", "src", "198.51.100.1", "dst", "198.51.100.2"),
    *("proto", "esp", "spi", "1", "mode", "tunnel", "aead", "rfc4106(gcm(aes))", "0x" + 36 * "00", "128"),
]

Said = Callable[[str], None]
Changed = Callable[[Course], None]


def run_on_esp(options: NetworkOptions, changed: Changed, said: Said) -> Report:
    """As `run_network`, on this kernel where it has ESP; raises `LabError`."""
    if kernel_has_esp():
        return run_network(options, changed, said)
    said("this kernel has no ESP: booting User-Mode Linux, which is slow")
    if options.keep is not None:
        return _in_user_mode(make_folder(options.keep), options, changed, said)
    with TemporaryDirectory(prefix="kv-") as folder:
        return _in_user_mode(Path(folder), options, changed, said)


def kernel_has_esp() -> bool:
    """Whether this process may make security associations, and the kernel knows the cipher."""
    try:
        return subprocess.run(_TRIAL, capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _in_user_mode(folder: Path, options: NetworkOptions, changed: Changed, said: Said) -> Report:
    asked = replace(options, picture=None, keep=_SITE if options.keep is not None else None)
    (folder / "options.json").write_bytes(msgspec.json.encode(asked, enc_hook=os.fspath))
    (folder / "events").touch()
    memory = f"{_BASE_MB + _NODE_MB * options.nodes}M"
    command = user_mode.python("simulators.lab.network.esp", folder)
    machine = user_mode.start(folder, command, Path(__file__).resolve().parents[3], memory=memory)
    heard = _Heard(changed, said)
    try:
        for line in _lines(folder / "events", machine):
            heard.take(line)
    finally:
        if machine.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(machine.pid, signal.SIGKILL)
            machine.wait()
    well, output = user_mode.outcome(folder)
    if heard.error is not None:
        raise heard.error
    if not well:
        raise LabError("User-Mode Linux ended early: " + " / ".join(output.strip().splitlines()[-3:]))
    save_course(heard.course, options)
    return msgspec.json.decode((folder / "report.json").read_bytes(), type=Report)


def _lines(file: Path, machine: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Whole lines as they come, until the machine has ended."""
    with file.open("rb") as events:
        rest = b""
        while True:
            ended = machine.poll() is not None
            *whole, rest = (rest + events.read()).split(b"\n")
            yield from whole
            if ended:
                return
            time.sleep(_LOOK_S)


@dataclass
class _Heard:
    """What the other side tells."""

    changed: Changed
    said: Said

    def __post_init__(self) -> None:
        self.course = Course()
        self.error: LabError | None = None

    def take(self, line: bytes) -> None:
        event = msgspec.json.decode(line)
        if "said" in event:
            self.said(event["said"])
        elif "error" in event:
            self.error = LabError(event["error"], event["remedy"])
        else:
            self.course.acts = [(at, title) for at, title in event["acts"]]
            self.course.moments.append(msgspec.convert(event["moment"], Moment))
            self.changed(self.course)


def main() -> None:
    """See the module's text."""
    folder = Path(sys.argv[1])
    told = (folder / "options.json").read_bytes()
    options = msgspec.json.decode(told, type=NetworkOptions, dec_hook=lambda kind, text: kind(text))
    with (folder / "events").open("ab", buffering=0) as events:

        def tell(event: dict[str, Any]) -> None:
            events.write(msgspec.json.encode(event) + b"\n")

        def changed(course: Course) -> None:
            tell({"moment": course.moments[-1], "acts": course.acts})

        try:
            report = run_network(options, changed, lambda text: tell({"said": text}))
        except LabError as error:
            tell({"error": str(error), "remedy": error.remedy})
            sys.exit(1)
        finally:
            if options.keep is not None and options.keep.exists():
                shutil.copytree(options.keep, folder / "site", ignore=_not_files)
    (folder / "report.json").write_bytes(msgspec.json.encode(report))


def _not_files(folder: str, names: list[str]) -> list[str]:
    """Sockets, which nobody can copy."""
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]


if __name__ == "__main__":
    main()
