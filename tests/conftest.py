"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples, `<modality>/<set>/<subject>/<sample>`; the test skips where it is absent."""
    folder = Path(os.environ.get("KEYVIGIL_DATA", ROOT / "../shared/data")).resolve()
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real samples at {folder}: set KEYVIGIL_DATA to the data folder")
    return folder
