"""A database on PostgreSQL, and stores of it as two replicas have them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from authority.store import Store
from tests.authority.replicas.pair import Pair
from tests.databases import HAS_POSTGRESQL, new_database


@pytest.fixture
def url() -> str:
    if not HAS_POSTGRESQL:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="no driver: pip install 'keyvigil[postgres]'")
    return new_database()


@pytest.fixture
def stores(url: str) -> Iterator[tuple[Store, Store]]:
    pair = Store(url), Store(url)
    yield pair
    for each in pair:
        each.close()


@pytest.fixture
def pair(tmp_path: Path, stores: tuple[Store, Store]) -> Iterator[Pair]:
    with Pair.made(tmp_path, stores) as made:
        yield made
