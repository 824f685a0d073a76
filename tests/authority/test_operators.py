"""Operators' tokens: what they allow, how long, and that only their hash is kept."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from authority.operators import Operator, create_operator_token, find_operator
from authority.roles import PREFIX, Scope
from authority.store import schema
from tests.authority.world import World, open_world


@pytest.fixture
def world() -> Iterator[World]:
    with open_world() as opened:
        yield opened


def token(world: World, *scopes: Scope, lifetime_s: float = 600) -> str:
    return create_operator_token(world.conn, world.rt, "ops", scopes, lifetime_s)


def find(world: World, text: str) -> Operator | None:
    return find_operator(world.conn, text, world.clock)


def test_a_token_finds_its_operator(world: World):
    found = find(world, token(world, Scope.READ, Scope.APPROVE))
    assert found == Operator("ops", frozenset({Scope.READ, Scope.APPROVE}))


@pytest.mark.parametrize("held", Scope)
@pytest.mark.parametrize("wanted", Scope)
def test_a_token_allows_its_scopes_and_admin_everything(world: World, held: Scope, wanted: Scope):
    found = find(world, token(world, held))
    assert found is not None
    assert found.may(wanted) is (held in {wanted, Scope.ADMIN})


def test_a_token_without_scopes_allows_nothing(world: World):
    found = find(world, token(world))
    assert found is not None and not any(found.may(scope) for scope in Scope)


def test_a_token_expires(world: World):
    text = token(world, Scope.READ, lifetime_s=60)
    world.clock += 59
    assert find(world, text)
    world.clock += 1
    assert find(world, text) is None


def test_a_revoked_token_finds_nobody(world: World):
    text, other = token(world, Scope.READ), token(world, Scope.READ)
    row = world.conn.execute(select(schema.operator_token)).first()
    world.conn.execute(
        update(schema.operator_token).where(schema.operator_token.c.lookup == row.lookup).values(revoked_at=1.0)
    )
    assert [find(world, each) is None for each in (text, other)].count(True) == 1


def test_another_s_text_finds_nobody(world: World):
    text = token(world, Scope.ADMIN)
    lookup = world.conn.scalar(select(schema.operator_token.c.lookup))
    for wrong in ("", PREFIX, text[:-1], text + "A", text.upper(), f" {text}", lookup, "\udc80", "é"):
        assert find(world, wrong) is None
    assert find(world, text)


def test_tokens_come_from_the_randomness_passed_in_and_only_the_hash_is_kept(world: World):
    world.seed = random.Random(1)
    one, two = token(world, Scope.READ), token(world, Scope.READ)
    assert one != two and one.startswith(PREFIX) and len(one) == len(PREFIX) + 43
    rows = str(world.conn.execute(select(schema.operator_token)).all())
    assert one.removeprefix(PREFIX) not in rows
    world.seed = random.Random(1)
    world.conn.execute(schema.operator_token.delete())
    assert token(world, Scope.READ) == one
