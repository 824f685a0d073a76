"""What the operator plane is, as OpenAPI 3.1: its routes, what they take, what their endpoints declare to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from authority.api import Waiting
from authority.planes.access import OPERATOR, declared_access
from authority.planes.gate import demanded_scope
from authority.planes.problems import MEDIA_TYPE
from protocol.problems import Problem

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Document = dict[str, Any]
_ANSWER, _BODY, _SECOND = "keyvigil_answer", "keyvigil_body", "keyvigil_second_operator"
_FRAMEWORK = ("HTTPValidationError", "ValidationError")
"""What the framework would answer, where we answer a problem."""
_REFERENCE = "#/components/schemas/{name}"
_PROBLEMS = {
    400: "the request, or a message in it, is not well-formed",
    401: "no valid credential",
    403: "the credential lacks the scope",
    404: "there is no such thing",
    408: "the body did not come in time",
    409: "the present state does not allow it",
    413: "the body is too long",
    422: "a parameter or the body is not as described",
    429: "too many requests; `Retry-After` tells when to try again",
    503: "the authority cannot do it now; nothing was changed",
}
"""Refusals that any route may give."""
_INTRODUCTION = """What the Trust Authority and the Key Orchestration Service answer to people and other systems.

Times are POSIX seconds, scores and confidences thousandths. Refusals are problem details (RFC 9457) with a stable
`code`.
"""
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A UUID, say: the same request under the same key is carried out once, and answered alike.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[!#-\[\]-~]+$"},
}
_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of `token create`."},
    "certificate": {"type": "mutualTLS", "description": "A client certificate that `token certificate` registered."},
}


def answers(kind: Any) -> Callable[[Endpoint], Endpoint]:
    """Declare what an endpoint answers: a msgspec type, or a list of one."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ANSWER, kind)
        return endpoint

    return declare


def takes(kind: Any) -> Callable[[Endpoint], Endpoint]:
    """Declare the msgspec type of a body that an endpoint reads itself."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _BODY, kind)
        return endpoint

    return declare


def second_operator(endpoint: Endpoint) -> Endpoint:
    """Declare that an endpoint's order may wait for a second operator."""
    setattr(endpoint, _SECOND, True)
    return endpoint


def declared_answer(endpoint: object) -> Any:
    """What an endpoint declares to answer; nothing if it does not."""
    return getattr(endpoint, _ANSWER, None)


def operator_routes(app: FastAPI) -> list[APIRoute]:
    """The routes for operators that answer JSON, in the order in which they were added."""
    ours = [route for route in app.routes if isinstance(route, APIRoute) and route.include_in_schema]
    return [route for route in ours if declared_access(route.endpoint) is OPERATOR]


def description(app: FastAPI) -> Document:
    """The OpenAPI document of every route for operators."""
    routes = operator_routes(app)
    document = get_openapi(
        title=app.title, version=app.version, openapi_version="3.1.0", description=_INTRODUCTION, routes=routes
    )
    named = [kind for route in routes for kind in _kinds(route)]
    _, components = msgspec.json.schema_components([*named, Waiting, Problem], ref_template=_REFERENCE)
    document = _apart(document, components)
    taken = document.get("components", {}).get("schemas", {})
    schemas = {name: schema for name, schema in taken.items() if name not in _FRAMEWORK} | components
    document["components"] = {
        "schemas": dict(sorted(schemas.items())),
        "responses": _refused(),
        "securitySchemes": _SECURITY,
    }
    for route in routes:
        for method in route.methods or ():
            _complete(document["paths"][route.path_format][method.lower()], route, method)
    plain: Document = _plain(document)
    return plain


def _complete(operation: Document, route: APIRoute, method: str) -> None:
    scope = demanded_scope(route)
    operation["operationId"] = route.name
    operation["summary"] = route.name.replace("_", " ").capitalize()
    operation["security"] = [{"token": []}, {"certificate": []}]
    operation["x-keyvigil-scope"] = None if scope is None else scope.value
    status = str(route.status_code or 200)
    operation["responses"] = {status: _answer(route, status), **dict(_refusals())}
    if getattr(route.endpoint, _SECOND, False):
        operation["responses"]["202"] = _waits()
    body = getattr(route.endpoint, _BODY, None)
    if body is not None:
        content = {"application/json": {"schema": _schema(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    if method == "POST":
        operation.setdefault("parameters", []).append(_KEY)


def _answer(route: APIRoute, status: str) -> Document:
    kind = declared_answer(route.endpoint)
    schema = {} if kind is None else _schema(kind)
    words = "Made" if status == "201" else "Done" if "POST" in (route.methods or ()) else "Found"
    return {"description": words, "content": {"application/json": {"schema": schema}}}


def _waits() -> Document:
    words = "It waits for a second operator; `Location` is where it stands"
    header = {"Location": {"schema": {"type": "string"}}}
    return {"description": words, "headers": header, "content": {"application/json": {"schema": _schema(Waiting)}}}


def _refusals() -> Iterator[tuple[str, Document]]:
    for status in _PROBLEMS:
        yield str(status), {"$ref": f"#/components/responses/{_name(status)}"}


def _refused() -> Document:
    content = {MEDIA_TYPE: {"schema": _schema(Problem)}}
    found: Document = {_name(status): {"description": words, "content": content} for status, words in _PROBLEMS.items()}
    found[_name(429)]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return found


def _name(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _kinds(route: APIRoute) -> list[Any]:
    found = (getattr(route.endpoint, name, None) for name in (_ANSWER, _BODY))
    return [kind for kind in found if kind is not None]


def _schema(kind: Any) -> Document:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    return schema


def _apart(document: Document, components: Document) -> Document:
    """The framework's document, with schemas of its own renamed that are called as another one of `components`."""
    own, text = document.get("components", {}).get("schemas", {}), msgspec.json.encode(document).decode()
    for name in sorted({*components} & {*own}):
        if sorted(own[name].get("enum", [])) != sorted(components[name].get("enum", [name])):
            text = text.replace(f'"#/components/schemas/{name}"', f'"#/components/schemas/{name}Asked"')
            text = text.replace(f'"{name}":{{', f'"{name}Asked":{{', 1)
    found: Document = msgspec.json.decode(text)
    return found


def _plain(value: Any) -> Any:
    """Patterns as ECMA-262 has them, and descriptions without the indentation of their source."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: _plain(each) for key, each in value.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = found["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
    if isinstance(found.get("description"), str):
        found["description"] = cleandoc(found["description"])
    return found
