"""What this node's sinks offer to its peers, told to the authority: after every connection, and when it changes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.client import AuthorityClient
from agent.errors import AuthorityRefused
from agent.log import event
from agent.sinks import DataPlaneFacts
from protocol.mapping import DataPlaneReport


class FactsReporter:
    """Tells the authority once of what `read` gives; nothing where no sink offers anything. For one thread."""

    def __init__(self, read: Callable[[], DataPlaneFacts | None]) -> None:
        self._read = read
        self._told: DataPlaneFacts | None = None

    def forget(self) -> None:
        """The authority may not know any more: tell it again."""
        self._told = None

    def tell(self, client: AuthorityClient) -> bool:
        """Report what the authority was not told yet; whether it was.

        What the authority refuses is not sent again until it changes, or the connection does.
        """
        facts = self._read()
        if facts is None or facts == self._told:
            return False
        report = DataPlaneReport(
            wireguard_public=facts.wireguard_public, wireguard_port=facts.wireguard_port, endpoint=facts.endpoint
        )
        try:
            client.report_data_plane(report)
        except AuthorityRefused:
            self._told = facts
            raise
        self._told = facts
        event(logging.INFO, "data plane reported", port=facts.wireguard_port, endpoint=facts.endpoint)
        return True
