"""Evidence on its way: kept on disk until its verdict is known, sent again until its deadline."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import msgspec

from agent.client import AuthorityClient
from agent.config import ConnectionSection
from agent.durable import read_struct, remove, write_private
from agent.errors import AgentError, AuthorityRefused, AuthorityUnreachable
from agent.log import event
from agent.state import StateDirectory
from hal import Clock, Deadline
from protocol.messages import EvidenceSubmission, Verdict


class PendingEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of outbox.json: nothing secret, good for one challenge until `give_up_at` (POSIX seconds)."""

    challenge_id: str
    evidence: EvidenceSubmission
    give_up_at: float


class Outbox:
    """Sends evidence; `clock.sleep` waits between tries and ends early when the agent stops."""

    def __init__(
        self, state: StateDirectory, settings: ConnectionSection, now: Callable[[], float], clock: Clock
    ) -> None:
        self._path = state.outbox
        self._settings = settings
        self._now = now
        self._clock = clock

    def send(self, client: Callable[[], AuthorityClient], pending: PendingEvidence) -> Verdict:
        """The verdict on `pending`; raises `AuthorityRefused`, or `AuthorityUnreachable` at the deadline.

        The authority answers the same evidence with the same verdict, so that a lost answer costs nothing. What the
        agent's end interrupts stays for `resume`.
        """
        write_private(self._path, msgspec.json.encode(pending))
        verdict = self._retry(client, pending)
        remove(self._path)
        return verdict

    def resume(self, client: Callable[[], AuthorityClient]) -> Verdict | None:
        """Send what an earlier run left behind, if its deadline has not passed."""
        pending = read_struct(self._path, PendingEvidence)
        if pending is None:
            return None
        verdict = self._retry(client, pending) if pending.give_up_at > self._now() else None
        remove(self._path)
        return verdict

    def _retry(self, client: Callable[[], AuthorityClient], pending: PendingEvidence) -> Verdict:
        delay = min(self._settings.retry_min_s, 1.0)
        while True:
            try:
                return client().submit_evidence(pending.challenge_id, pending.evidence)
            except (AuthorityUnreachable, AuthorityRefused) as error:
                self._check_patience(error, pending, delay)
            self._clock.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, guards nothing
            delay = min(delay * 2, self._settings.retry_max_s)

    def _check_patience(self, error: AgentError, pending: PendingEvidence, delay: float) -> None:
        """Raise `error` unless the same evidence may yet be accepted in time."""
        final = isinstance(error, AuthorityRefused) and not error.temporary
        if final or self._now() + delay > pending.give_up_at:
            remove(self._path)
            raise error
        if Deadline.after(1, self._clock).remaining() <= 0:
            raise error
        event(logging.WARNING, "evidence could not be sent, trying again", error=str(error))
