"""Why a backup cannot be made or used."""

from __future__ import annotations


class BackupError(Exception):
    """A backup cannot be made, or is not one that can be trusted; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy
