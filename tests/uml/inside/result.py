"""What a scenario leaves to the test outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def leave(folder: Path, result: dict[str, Any]) -> None:
    """Write the result."""
    (folder / "result.json").write_text(json.dumps(result, indent=1))
