"""Operator plane: which nodes a list is about."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from authority.views import NodeFilter
from protocol.levels import NodeState, Tier


class NodeQuery:
    """A dependency: which nodes are wanted."""

    def __init__(
        self,
        state: NodeState | None = None,
        tier: Tier | None = None,
        lab: bool | None = None,
        network: Annotated[str | None, Query(max_length=64)] = None,
        search: Annotated[str, Query(max_length=64)] = "",
    ) -> None:
        self._wanted = NodeFilter(state, tier, lab, network, search)

    def filter(self) -> NodeFilter:
        """What the query says."""
        return self._wanted
