"""Options of the modalities that come with Keyvigil."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from agent.config import Section
from agent.errors import ConfigError

T = TypeVar("T", bound=Section)


def options_as(form: type[T], modality: str, options: Mapping[str, Any]) -> T:
    """`options` as the section `form`; raises `ConfigError` naming the option at fault."""
    try:
        return msgspec.convert(dict(options), form)
    except msgspec.ValidationError as error:
        raise ConfigError(f"modalities.{modality}.options: {error}") from None
