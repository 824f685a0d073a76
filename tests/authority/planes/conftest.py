"""One plane per test module, and one of its own for tests that end or exhaust it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authority.planes.plane import Plane, open_plane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with open_plane(tmp_path_factory.mktemp("plane")) as opened:
        yield opened


@pytest.fixture
def own_plane(tmp_path: Path) -> Iterator[Plane]:
    with open_plane(tmp_path) as opened:
        yield opened
