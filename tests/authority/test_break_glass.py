"""Good once, for an hour, and never quietly."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from authority import break_glass
from authority.operators import find_operator
from authority.refusal import Refused
from authority.roles import Scope
from authority.store import schema
from tests.authority.world import World, open_world

SECRET = bytes(range(32))
WHY = "nobody can sign in"


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as opened:
        break_glass.make(opened.conn, "ab" * 8, SECRET, "state-folder", opened.clock)
        yield opened


def use(world: World, secret: bytes = SECRET) -> tuple[str, float]:
    return break_glass.use(world.conn, world.rt, secret, "ada", WHY, world.clock)


def test_it_admits_one_operator_for_an_hour(world: World) -> None:
    token, ends = use(world)
    found = find_operator(world.conn, token, ends - 1)
    assert found is not None and found.may(Scope.ADMIN) and ends == world.clock + 3600
    assert find_operator(world.conn, token, ends) is None


def test_it_is_loud_and_on_record(world: World) -> None:
    use(world)
    assert world.alerts() == [("critical", "break-glass-used")]
    text = world.conn.scalar(select(schema.alert.c.text))
    assert text is not None and "ada" in text and WHY in text
    assert world.audit_kinds() == ["break-glass-made", "break-glass-used"]


def test_it_is_good_once(world: World) -> None:
    use(world)
    with pytest.raises(Refused, match="admits nobody"):
        use(world)
    assert world.alerts()[-1] == ("critical", "break-glass-refused")


def test_another_secret_admits_nobody_and_is_loud_too(world: World) -> None:
    with pytest.raises(Refused, match="admits nobody"):
        use(world, os.urandom(32))
    assert world.alerts() == [("critical", "break-glass-refused")]
    use(world)


def test_one_that_went_missing_is_voided(world: World) -> None:
    assert break_glass.void(world.conn, "ab" * 8, "state-folder", world.clock) == 1
    assert break_glass.void(world.conn, "ab" * 8, "state-folder", world.clock) == 0
    with pytest.raises(Refused):
        use(world)


def test_nothing_that_admits_anybody_is_kept_or_shown(world: World) -> None:
    rows = [str(each) for each in world.conn.execute(select(schema.metadata.tables["break_glass"]))]
    told = str(break_glass.listed(world.conn)) + str(rows)
    assert SECRET.hex() not in told and repr(SECRET) not in told
    assert "lookup" not in break_glass.listed(world.conn)[0]
