"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole systems first: begun last, the few long files would keep one worker busy alone."""
    items.sort(key=lambda item: "system" not in item.path.relative_to(ROOT).parts)


def pytest_collection_finish() -> None:
    """What was collected stays to the end: whenever the garbage collector runs, it need not look at all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples, `<modality>/<set>/<subject>/<sample>`; the test skips where it is absent."""
    folder = Path(os.environ.get("KEYVIGIL_DATA", ROOT / "../shared/data")).resolve()
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no real samples at {folder}: set KEYVIGIL_DATA to the data folder")
    return folder
