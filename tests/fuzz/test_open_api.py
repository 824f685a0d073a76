"""schemathesis against the operator plane: whatever comes in, no error of ours, and every answer as it is described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup, ServerError
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from authority.planes.gate import OperatorLimits
from authority.planes.limits import RateLimit
from tests.authority.planes.operator_site import OperatorSite, open_operator_site
from tests.authority.planes.test_answers import populate

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KNOWN = {"name": "n1", "network": "prod", "group": "rack", "admin": "ada", "alert_id": 1, "value_id": 1, "seq": 1}
"""Things that are there, so that not every path leads nowhere."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[OperatorSite]:
    unlimited = RateLimit(burst=1e9, rate=1e9)
    opened = open_operator_site(tmp_path, limits=OperatorLimits(unlimited, unlimited))
    populate(opened)
    yield opened
    opened.store.close()


def fuzz(site: OperatorSite, mode: GenerationMode, examples: int) -> int:
    """Ask every operation `examples` times; gives how many operations there were."""
    described = schemathesis.openapi.from_asgi("/openapi.json", site.app)
    found = [each.ok() for each in described.get_all_operations()]
    for operation in found:
        ask(site, operation, mode, examples)
    return len(found)


def ask(site: OperatorSite, operation: Any, mode: GenerationMode, examples: int) -> None:
    headers = {"authorization": f"Bearer {site.tokens['admin']}"}

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def once(case: Any, known: bool) -> None:
        if known and case.path_parameters:
            case.path_parameters = {
                **case.path_parameters,
                **{k: v for k, v in KNOWN.items() if k in case.path_parameters},
            }
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=CHECKS, headers=headers)

    once()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_a_few_requests_of_every_operation(site: OperatorSite, mode: GenerationMode) -> None:
    assert fuzz(site, mode, 2) > 60


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_many_requests_of_every_operation(site: OperatorSite, mode: GenerationMode) -> None:
    assert fuzz(site, mode, 100) > 60


def test_an_error_of_ours_is_noticed(site: OperatorSite) -> None:
    """The control: a route that fails, and one that answers other than it says."""

    async def failing() -> None:
        raise KeyError("found")

    described = schemathesis.openapi.from_asgi("/openapi.json", site.app)
    operation = next(each.ok() for each in described.get_all_operations() if each.ok().path == "/v1/health")
    route = next(each for each in site.app.routes if getattr(each, "path", "") == "/v1/health")
    route.dependant.call = failing  # type: ignore[attr-defined]
    with pytest.raises(FailureGroup) as found:
        ask(site, operation, GenerationMode.POSITIVE, 1)
    assert any(isinstance(each, ServerError) for each in found.value.exceptions)
