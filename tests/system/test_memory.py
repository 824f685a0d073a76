"""What runs with secrets lets no other process of its user look into it, and leaves no core dump."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulators.lab.world import wait_for
from tests.conftest import ROOT
from tests.security.broken import NOTICED
from tests.system.harness import Site
from tests.system.needles import Needle, leaks

pytestmark = pytest.mark.system

WITHOUT_POWERS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
"""Reader and read are the same user's and have no other power, so that what decides is what the read one forbade."""
READER = """
import sys
for line in open(f"/proc/{sys.argv[1]}/maps"):
    place, mode = line.split()[:2]
    begin, end = (int(each, 16) for each in place.split("-"))
    if mode.startswith("rw"):
        with open(f"/proc/{sys.argv[1]}/mem", "rb") as memory:
            memory.seek(begin)
            sys.stdout.buffer.write(memory.read(end - begin))
"""
HOLDER = """
import importlib, sys
for module, name in zip(sys.argv[1::2], sys.argv[2::2]):
    getattr(importlib.import_module(module), name)()
kept = bytes.fromhex(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.readline()
"""
HARDENED = {
    "agent": ("agent.hardening", "harden_process"),
    "authority": ("authority.service", "forbid_core_dumps"),
}
CORE = "Max core file size"
UNLIMITED = resource.RLIM_INFINITY


def memory_of(pid: int) -> bytes | None:
    """All that it may write to, as gcore takes it; None where that is refused."""
    argv = [*WITHOUT_POWERS, sys.executable, "-c", READER, str(pid)]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    return done.stdout if done.returncode == 0 else None


def check_no_core_is_dumped(pid: int) -> None:
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (line,) = [each for each in limits if each.startswith(CORE)]
    assert line.removeprefix(CORE).split()[:2] == ["0", "0"]


def check_nobody_looks_in(pid: int) -> None:
    assert memory_of(pid) is None
    check_no_core_is_dumped(pid)


@contextmanager
def holding(secret: bytes, *hardening: str) -> Iterator[int]:
    """A process that holds a secret, after it has called these functions."""
    argv = [*WITHOUT_POWERS, sys.executable, "-c", HOLDER, *hardening]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(secret.hex() + "\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready\n"
        yield child.pid
        child.stdin.close()


ABORTER = """
import ctypes, importlib, os, sys
for module, name in zip(sys.argv[1::2], sys.argv[2::2]):
    getattr(importlib.import_module(module), name)()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
os.abort()
"""
PATTERN = Path("/proc/sys/kernel/core_pattern")
"""Where the kernel puts a core dump; a pattern without a folder means the process's own (core(5))."""


def aborted(folder: Path, *hardening: str) -> tuple[str, list[str]]:
    """What PR_GET_DUMPABLE says of a process after these functions, and the core files that its abort leaves."""
    done = subprocess.run(
        [sys.executable, "-c", ABORTER, *hardening],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (UNLIMITED, UNLIMITED)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGABRT
    return done.stdout.strip(), [path.name for path in folder.iterdir() if path.name.startswith("core")]


@pytest.fixture(scope="module", autouse=True)
def powerless() -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("no way to give powers up: apt-get install util-linux")


@pytest.mark.parametrize("who", HARDENED)
def test_nobody_looks_into_what_is_hardened(who: str) -> None:
    with holding(os.urandom(32), *HARDENED[who]) as pid:
        check_nobody_looks_in(pid)


def test_a_process_that_forbids_nothing_is_noticed() -> None:
    """The control: the same reader finds the needle in the same process, without the hardening."""
    secret = os.urandom(32)
    with holding(secret) as pid:
        found = memory_of(pid)
        assert found is not None
        assert leaks([Needle.of_bytes("the secret", secret)], iter([("memory", found)])) == ["the secret in memory"]
        with pytest.raises(NOTICED):
            check_nobody_looks_in(pid)


@pytest.mark.parametrize("who", HARDENED)
def test_what_is_hardened_is_not_dumpable_and_leaves_no_core(who: str, tmp_path: Path) -> None:
    assert aborted(tmp_path, *HARDENED[who]) == ("0", [])


def test_a_core_of_what_forbids_nothing_is_found(tmp_path: Path) -> None:
    """The control: the same abort, allowed as much, leaves one."""
    if PATTERN.read_text()[:1] in "|/" or resource.getrlimit(resource.RLIMIT_CORE)[1] != UNLIMITED:
        pytest.skip("the system puts core dumps elsewhere, or none")
    dumpable, cores = aborted(tmp_path)
    assert dumpable == "1"
    assert cores != []


def test_the_running_agent_and_authority_are_hardened(site: Site) -> None:
    """The limit is set in the same function as the rest, and can be seen from outside whoever looks."""
    (node,) = site.world.nodes
    wait_for("the agent's connection", lambda: site.connections() == 1 or None, 30, node.agent)
    check_no_core_is_dumped(node.agent.pid)
    check_no_core_is_dumped(site.authority.server.pid)
