"""A small disk that can be filled to the last byte and freed again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

BLOCK = 4096


@dataclass(frozen=True)
class SmallDisk:
    """A mounted tmpfs; `filling` is what takes its room."""

    folder: Path

    @property
    def filling(self) -> Path:
        return self.folder / "filling"

    def fill(self) -> None:
        """Leave no free block."""
        with self.filling.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(BLOCK))
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def free(self) -> None:
        """Make room again."""
        self.filling.unlink()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """A disk of `size` at the new `folder`, of mode 0700; skips the test where nothing can be mounted."""
    folder.mkdir(mode=0o700, parents=True)
    options = f"size={size},mode=0700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", os.fspath(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs a small disk, and nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", os.fspath(folder)], check=True)
