"""A Linux kernel with ESP as an ordinary process: Debian's user-mode-linux, on the files of this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir

from simulators.lab.processes import LabError

MODULES = [
    "crypto/sha512_generic",
    "crypto/hmac",
    "crypto/drbg",
    "crypto/jitterentropy_rng",
    "crypto/gf128mul",
    "crypto/ghash-generic",
    "crypto/ctr",
    "crypto/gcm",
    "crypto/seqiv",
    "lib/crc-ccitt",
    "net/ipv6/ipv6",
    "net/xfrm/xfrm_algo",
    "net/xfrm/xfrm_user",
    "net/ipv4/esp4",
    "net/ipv6/esp6",
    "drivers/net/veth",
    "net/llc/llc",
    "net/802/stp",
    "net/bridge/bridge",
]
"""In the order in which they need one another. The generator comes first: seqiv finds none otherwise (ENOENT)."""

_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs {temporary}
{needed}
mkdir -p {folder}
mount -t hostfs -o {folder} none {folder}
cd {modules}
for module in {names}; do insmod kernel/$module.ko || echo "cannot load $module"; done
ip link set lo up
cd {here}
export HOME=/run PYTHONDONTWRITEBYTECODE=1 OPENSSL_CONF=/dev/null
{command} >{folder}/log 2>&1
echo $? >{folder}/status
echo o >/proc/sysrq-trigger
sleep 60
"""
_SHARED = Path("/dev/shm")  # noqa: S108 - the kernel's own name for memory
_MODULES = Path("/usr/lib/uml/modules")


def missing() -> str:
    """Why there is no such kernel here; empty when there is one."""
    if shutil.which("linux.uml") is None:
        return "user-mode-linux is not installed"
    return "" if _modules() is not None else "user-mode-linux has no modules"


def start(folder: Path, command: Sequence[str], here: Path, *, memory: str = "700M") -> subprocess.Popen[bytes]:
    """Boot, run `command` in `here`, and power off; raises `LabError` where there is no such kernel.

    `folder` is the only place that it can write to for good: output goes to `log` there, the exit status to `status`,
    what the kernel says to `console`. Temporary files lie in its memory.
    """
    if reason := missing():
        raise LabError(reason, "sudo apt-get install user-mode-linux kmod")
    for name in ("status", "log"):
        (folder / name).unlink(missing_ok=True)
    init = folder / "init.sh"
    init.write_text(_init(folder, command, here))
    init.chmod(0o700)
    boot = ["linux.uml", f"mem={memory}", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"]
    with (folder / "console").open("wb") as console:
        return subprocess.Popen(
            [*boot, "con=null", "con0=fd:0,fd:1", "quiet"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": _memory_folder()},
            start_new_session=True,
        )


def outcome(folder: Path) -> tuple[bool, str]:
    """Whether the command ended well, and what it said, or the kernel where it did not come to that."""
    log, status = folder / "log", folder / "status"
    said = (log if log.exists() else folder / "console").read_text(errors="replace")
    return status.exists() and status.read_text().strip() == "0", said


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def _init(folder: Path, command: Sequence[str], here: Path) -> str:
    temporary = Path(gettempdir())
    hidden = {path for path in (here, Path(sys.prefix), Path(sys.base_prefix)) if path.is_relative_to(temporary)}
    needed = [f"mkdir -p {one}; mount -t hostfs -o ro,{one} none {one}" for one in map(shlex.quote, map(str, hidden))]
    return _INIT.format(
        temporary=shlex.quote(str(temporary)),
        needed="\n".join(needed),
        folder=shlex.quote(os.fspath(folder)),
        modules=_modules(),
        names=" ".join(MODULES),
        here=shlex.quote(os.fspath(here)),
        command=shlex.join(command),
    )


def _modules() -> Path | None:
    return next(iter(sorted(_MODULES.glob("6.*"))), None)


def _memory_folder() -> str:
    """Its memory is a file: one in memory, where there is room."""
    return os.fspath(_SHARED) if _SHARED.is_dir() else gettempdir()
