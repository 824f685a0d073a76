"""Model files are used only if they are the ones that were pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agent.biometrics.errors import ModelError


def require_sha256(path: Path, expected: str) -> None:
    """Raise `ModelError` unless the file is there and hashes to `expected` (64 hexadecimal digits)."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"the model file {path.name} cannot be read: {error.strerror}") from None
    if found != expected:
        raise ModelError(f"the model file {path.name} has SHA-256 {found}, but {expected} is pinned")
