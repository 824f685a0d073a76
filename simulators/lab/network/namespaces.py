"""Network namespaces of our own, joined by pairs of virtual Ethernet interfaces."""

from __future__ import annotations

import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
_NUMBERS = itertools.count()


class Namespace:
    """One network namespace with its loopback up; a context manager."""

    def __init__(self) -> None:
        self.name = f"kv{os.getpid()}n{next(_NUMBERS)}"
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)

    def __enter__(self) -> Namespace:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.command("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_error: object) -> None:
        self._inside.shutdown()
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def argv(self, *command: str) -> list[str]:
        """The command, to be run in here."""
        return ["ip", "netns", "exec", self.name, *command]

    def command(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in here to its end."""
        return subprocess.run(self.argv(*command), check=check, capture_output=True, text=True)

    def run(self, work: Callable[[], T]) -> T:
        """Call `work` in a thread that is in here, with all the sockets and processes that it makes."""
        return self._inside.submit(work).result()

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{self.name}").open("rb") as place:
            if libc.setns(place.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")


def join(one: Namespace, other: Namespace, prefix: str = "192.0.2") -> None:
    """A cable between two namespaces: addresses PREFIX.1 and PREFIX.2."""
    ends = [(one, f"{prefix}.1"), (other, f"{prefix}.2")]
    names = [f"v{next(_NUMBERS)}{os.getpid()}"[:15] for _ in ends]
    subprocess.run(
        [
            "ip",
            "link",
            "add",
            names[0],
            "netns",
            one.name,
            "type",
            "veth",
            "peer",
            "name",
            names[1],
            "netns",
            other.name,
        ],
        check=True,
    )
    for name, (end, address) in zip(names, ends, strict=True):
        end.command("ip", "address", "add", f"{address}/24", "dev", name)
        end.command("ip", "link", "set", name, "up")
