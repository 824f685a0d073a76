"""Operator plane: lists in pages; the next one is named by a `Link` header (RFC 8288), its place by `after`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import dropwhile, islice
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

USUAL, MOST = 200, 1000
LARGEST = 2**63 - 1
View = dict[str, Any]
AfterNumber = Annotated[int, Query(ge=0, le=LARGEST, description="What comes behind the item of this number.")]
AfterName = Annotated[str, Query(max_length=255, description="What comes behind the item of this name.")]


class Page:
    """A dependency: how many items a page has, and the header that names the next one."""

    def __init__(
        self, request: Request, response: Response, limit: Annotated[int, Query(ge=1, le=MOST)] = USUAL
    ) -> None:
        self.limit = limit
        self._request, self._response = request, response

    def full(self, found: Sequence[View], key: Callable[[View], object]) -> list[View]:
        """The items of this page; when there are as many as it has, another one may follow."""
        if len(found) >= self.limit:
            there = self._request.url.include_query_params(after=key(found[-1]), limit=self.limit)
            self._response.headers["link"] = f'<{there.path}?{there.query}>; rel="next"'
        return [*found]

    def cut(self, found: Sequence[View], after: str, key: Callable[[View], str]) -> list[View]:
        """This page of all the items there are, which are sorted by `key`."""
        rest = dropwhile(lambda each: bool(after) and key(each) <= after, found)
        return self.full([*islice(rest, self.limit)], key)


PageOf = Annotated[Page, Depends()]
