"""The machine as its file systems describe it, with a root that tests may move."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LARGEST_ATTRIBUTE = 4096


def _may_use(node: Path) -> bool:
    return os.access(node, os.R_OK | os.W_OK)


@dataclass(frozen=True)
class Machine:
    """`may_use` tells whether this user may read and write a device node."""

    root: Path = Path("/")
    may_use: Callable[[Path], bool] = _may_use

    def path(self, absolute: str) -> Path:
        """Where `absolute` lies under this machine's root."""
        return self.root / absolute.lstrip("/")

    def text(self, path: Path) -> str:
        """The content of a small file such as a sysfs attribute; empty where it cannot be read."""
        try:
            with path.open("rb") as file:
                return file.read(_LARGEST_ATTRIBUTE).decode("utf-8", "replace").strip("\0 \t\r\n")
        except OSError:
            return ""

    def entries(self, absolute: str, pattern: str = "*") -> list[Path]:
        """What lies in a folder, by name; nothing where there is none."""
        try:
            return sorted(self.path(absolute).glob(pattern), key=lambda path: (len(path.name), path.name))
        except OSError:
            return []
