"""What is raised where the database cannot be used."""

from __future__ import annotations


class StoreUnavailable(Exception):
    """The database cannot be read or written now; nothing of the action was kept."""

    def __init__(
        self,
        cause: str,
        remedy: str = "Free disk space, or correct the permissions of the authority's state folder.",
    ) -> None:
        super().__init__(f"the authority's database is unavailable: {cause}")
        self.remedy = remedy
