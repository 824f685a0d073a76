"""What every format says about the product."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

from authority.alerts.rfc5424 import neutralise

VENDOR, PRODUCT = "Keyvigil", "Keyvigil Authority"


def product_version() -> str:
    """Version of this installation."""
    try:
        return version("keyvigil")
    except PackageNotFoundError:
        return "0"


def text_of(data: Mapping[str, object], name: str) -> str:
    """A field of an alert as one harmless line, empty where it is absent."""
    return neutralise(str(data.get(name, "")))


def rest_of(data: Mapping[str, object]) -> dict[str, str]:
    """The fields that no format names, as harmless lines."""
    return {neutralise(str(name)): neutralise(str(value)) for name, value in data.items() if name not in _NAMED}


_NAMED = {"id", "kind", "node", "nodeId"}
