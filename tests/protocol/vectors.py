"""The golden vectors that ship with the protocol; they were computed by a second implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import protocol

FOLDER = Path(protocol.__file__).parent / "vectors"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def part(tagged: dict[str, Any]) -> bytes | str | int:
    [(kind, value)] = tagged.items()
    return bytes.fromhex(value) if kind == "hex" else value
