"""Who may use a route: every endpoint declares it, and an application with one that does not is never served."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.routing import BaseRoute

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
_ATTRIBUTE = "keyvigil_access"
_SECRET = "keyvigil_secret_answer"  # noqa: S105 - the name of an attribute


class Access(StrEnum):
    """`NODE` needs the client certificate of a registered node, `OPERATOR` an operator's token, `SESSION` a session.

    A session of the console is opened by such a token, and `authority.console.desk` sees to its scopes.
    """

    ANONYMOUS = "anonymous"
    NODE = "node"
    OPERATOR = "operator"
    SESSION = "session"


ANONYMOUS, NODE, OPERATOR, SESSION = Access.ANONYMOUS, Access.NODE, Access.OPERATOR, Access.SESSION


class AccessUndeclared(Exception):
    """An endpoint does not say who may use it."""


def access(level: Access) -> Callable[[Endpoint], Endpoint]:
    """Declare who may use an endpoint; stands right above its `def`."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, level)
        return endpoint

    return declare


def secret_answer(endpoint: Endpoint) -> Endpoint:
    """Declare that an endpoint's answer holds a secret, which is given once and kept nowhere."""
    setattr(endpoint, _SECRET, True)
    return endpoint


def answers_secretly(endpoint: object) -> bool:
    """Whether an endpoint declares that."""
    return bool(getattr(endpoint, _SECRET, False))


def declared_access(endpoint: object) -> Access | None:
    """What an endpoint declares."""
    level: Access | None = getattr(endpoint, _ATTRIBUTE, None)
    return level


def check_access_declared(app: FastAPI) -> None:
    """Raise `AccessUndeclared` naming the routes without a declaration.

    The description of the API, which the framework itself serves, is for everybody.
    """
    silent = [_path(route) for route in app.routes if _is_silent(route) and _path(route) != app.openapi_url]
    if silent:
        raise AccessUndeclared(f"these routes do not declare who may use them: {', '.join(sorted(silent))}")


def _is_silent(route: BaseRoute) -> bool:
    return declared_access(getattr(route, "endpoint", None)) is None


def _path(route: BaseRoute) -> str:
    return str(getattr(route, "path", route))
