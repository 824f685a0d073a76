"""The description of the open API: whole, the one that is checked in, and true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi.routing import APIRoute

from authority.cli.api import render
from authority.planes.blank import api_description
from authority.planes.described import declared_answer, operator_routes
from tests.authority.planes.operator_site import OperatorSite, open_operator_site

CHECKED_IN = Path(__file__).parents[3] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return api_description()


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> OperatorSite:
    return open_operator_site(tmp_path_factory.mktemp("api"))


def test_what_is_checked_in_is_what_the_application_gives(document: dict[str, Any]) -> None:
    """After a change: `keyvigil-authority api schema --out docs/openapi.json`."""
    assert CHECKED_IN.read_text(encoding="utf-8") == render(document)


def test_the_served_description_is_the_same(operators: OperatorSite, document: dict[str, Any]) -> None:
    assert operators.ask("GET", "/openapi.json", None).json() == json.loads(render(document))


def test_every_route_says_what_it_answers(operators: OperatorSite) -> None:
    routes = operator_routes(operators.app)
    assert [route.path for route in routes if declared_answer(route.endpoint) is None] == []
    assert len(routes) > 60


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = {*references(document)}
    assert len(found) > 50
    for reference in found:
        place: Any = document
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for each in value.values() for found in references(each)]


def test_operations_have_names_of_their_own_and_a_scope(document: dict[str, Any]) -> None:
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len({*names}) == len(names)
    assert {each["x-keyvigil-scope"] for each in operations} == {
        "read", "audit", "operate", "approve", "signal", "admin"
    }  # fmt: skip


def test_it_is_openapi_3_1_with_schemas_of_2020_12(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_route_that_is_not_described_is_noticed(tmp_path: Path) -> None:
    """The control: the same look at an application with one more."""
    site = open_operator_site(tmp_path)
    route = next(each for each in operator_routes(site.app))
    assert isinstance(route, APIRoute)
    del route.endpoint.keyvigil_answer  # type: ignore[attr-defined]
    assert declared_answer(route.endpoint) is None
