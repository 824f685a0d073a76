"""One house per test module, for tests that leave others' nodes alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.authority.console.house import House, open_house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("console") / "state") as opened:
        yield opened
