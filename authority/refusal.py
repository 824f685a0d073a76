"""Requests that are refused, with everything that the other side may be told."""

from __future__ import annotations

from protocol.problems import ErrorCode


class Refused(Exception):
    """A request is refused; what was written (audit, alerts, counters) is committed all the same.

    `detail` and `remedy` go to the caller, so that neither may say more than the caller is to know. `retry_after_s`
    tells when to try again (RFC 9110, 10.2.3), where that is known.
    """

    def __init__(
        self, code: ErrorCode, status: int, detail: str, remedy: str = "", *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.detail = detail
        self.remedy = remedy
        self.retry_after_s = retry_after_s
