"""A Linux kernel with ESP as an ordinary process: Debian's user-mode-linux on the files of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
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
]
"""In the order in which they need one another. The generator comes first: seqiv finds none otherwise (ENOENT)."""

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t hostfs -o {folder} none {folder}
cd {modules}
for module in {names}; do insmod kernel/$module.ko || echo "cannot load $module"; done
ip link set lo up
cd {repository}
export HOME=/run PYTHONDONTWRITEBYTECODE=1 OPENSSL_CONF=/dev/null
{python} -m tests.uml.inside.{scenario} {folder} {arguments} >{folder}/log 2>&1
echo $? >{folder}/status
echo o >/proc/sysrq-trigger
sleep 60
"""


def available() -> str:
    """Why there is no such kernel here; empty when there is one."""
    if shutil.which("linux.uml") is None:
        return "user-mode-linux is not installed"
    return "" if _modules() is not None else "user-mode-linux has no modules"


def run(scenario: str, folder: Path, *arguments: object, timeout_s: float = 600, memory: str = "700M") -> dict:
    """Boot, run a module of `tests.uml.inside` with the folder and arguments, and read the result that it left.

    The folder is the only place that it can write to, and survives for another boot.
    """
    reason = available()
    if reason:
        pytest.skip(reason)
    for name in ("result.json", "status", "log"):
        (folder / name).unlink(missing_ok=True)
    init = folder / "init.sh"
    init.write_text(_init(scenario, folder, arguments))
    init.chmod(0o700)
    command = ["linux.uml", f"mem={memory}", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"]
    with (folder / "console").open("wb") as console:
        subprocess.run(
            [*command, "con=null", "con0=fd:0,fd:1", "quiet"],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": _memory_folder()},
            timeout=timeout_s,
            check=False,
        )
    log = (folder / "log").read_text() if (folder / "log").exists() else (folder / "console").read_text()
    assert (folder / "status").exists() and (folder / "status").read_text().strip() == "0", log[-4000:]
    found: dict = json.loads((folder / "result.json").read_text())
    return found


def _init(scenario: str, folder: Path, arguments: tuple[object, ...]) -> str:
    return INIT.format(
        folder=folder,
        modules=_modules(),
        names=" ".join(MODULES),
        repository=REPOSITORY,
        python=sys.executable,
        scenario=scenario,
        arguments=" ".join(str(argument) for argument in arguments),
    )


def _modules() -> Path | None:
    return next(iter(sorted(Path("/usr/lib/uml/modules").glob("6.*"))), None)


def _memory_folder() -> str:
    """Its memory is a file: one in memory, where there is room."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else "/tmp"
