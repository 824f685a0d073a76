"""Attestation results (RFC 9334) as they are issued: kept for a while to be fetched, and sent to subscribers."""

from authority.results.delivering import ResultPump, Subscriber, subscribers
from authority.results.issuing import QUEUE, Cause, forget, listing, publish

__all__ = ["QUEUE", "Cause", "ResultPump", "Subscriber", "forget", "listing", "publish", "subscribers"]
