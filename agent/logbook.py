"""The authority's audit log as this node knows it: the newest checkpoint is kept, and every later one must continue it.

A log that was rewritten or cut off cannot (RFC 9162 §2.1.4). Then the checkpoint stays what it was and an alarm is kept
until somebody at the node accepts the log anew; docs/decisions/0032 says why.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.client import AuthorityClient
from agent.durable import read_struct, write_private
from agent.errors import AuthorityRefused, AuthorityUnreachable, StateError
from agent.identity import LogTrust
from agent.log import event
from agent.state import StateDirectory
from protocol.checkpoint import Checkpoint, log_key, open_checkpoint
from protocol.codec import ProtocolViolation, encode
from protocol.merkle import is_consistent
from protocol.messages import LogCheckpoint
from protocol.problems import ErrorCode

UNPROVEN_S = 3600.0
"""An authority that owes the proof of a checkpoint for so long counts as one that has none."""


class LogState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Content of log.json: the newest checkpoint that held, and what did not hold; times are POSIX seconds."""

    note: str = ""
    size: int = 0
    root: bytes = b""
    held_at: float | None = None
    alarm: str = ""
    alarm_note: str = ""
    alarm_at: float | None = None
    unproven_since: float | None = None

    def trouble(self, now: float) -> str:
        """What is wrong with the log, for a person; empty when nothing is known to be."""
        if self.alarm:
            return self.alarm
        if self.unproven_since is not None and now - self.unproven_since > UNPROVEN_S:
            return "the authority does not prove that its log continues"
        return ""


class LogBook:
    """Keeps log.json; threads may share it. `trust` gives whose word counts at the moment, `now` POSIX seconds."""

    def __init__(self, state: StateDirectory, trust: Callable[[], LogTrust], now: Callable[[], float]) -> None:
        self._state = state
        self._trust = trust
        self._now = now
        self._lock = threading.Lock()

    def read(self) -> LogState:
        """What is known of the log; raises `StateError`."""
        return read_log(self._state)

    @property
    def forked(self) -> bool:
        """Whether the log is refused."""
        return bool(self.read().trouble(self._now()))

    def accept(self) -> LogState:
        """Forget checkpoint and alarm, so that the next checkpoint is taken as it comes; gives what was known."""
        with self._lock:
            try:
                before = self.read()
            except StateError:
                before = LogState(alarm="the file was damaged")
            self._write(LogState())
        return before

    def take(self, pushed: LogCheckpoint, client: AuthorityClient) -> LogState:
        """Check a pushed checkpoint against the one that is kept; asks the authority for the proof.

        Raises `ProtocolViolation` for one that the log did not sign, and `StateError`. An authority that cannot be
        asked now changes nothing but how long it owes the proof.
        """
        trust = self._trust()
        new = open_checkpoint(pushed.note, trust.origin, _certified_key(pushed.certificate, trust))
        with self._lock:
            state = self.read()
            found = state if state.alarm else self._judged(state, new, pushed.note, client)
            if found != state:
                self._write(found)
        if found.alarm and found.alarm != state.alarm:
            event(logging.ERROR, "the authority's audit log is not the one of before", cause=found.alarm)
        return found

    def _judged(self, state: LogState, new: Checkpoint, note: str, client: AuthorityClient) -> LogState:
        if state.size == 0:
            return self._kept(new, note)
        (first, first_root), (second, second_root) = sorted([(state.size, state.root), (new.size, new.root)])
        try:
            proof = [] if first == second else client.consistency(first, second).hashes
        except (AuthorityUnreachable, AuthorityRefused) as error:
            if isinstance(error, AuthorityRefused) and error.problem.code is ErrorCode.NOT_FOUND:
                cause = "the log lost records, or its authority refuses to prove that it did not"
                return self._alarmed(state, cause, note)
            event(logging.WARNING, "the log's proof could not be fetched", error=str(error))
            return msgspec.structs.replace(state, unproven_since=state.unproven_since or self._now())
        if not is_consistent(first, first_root, second, second_root, proof):
            return self._alarmed(state, "the log was rewritten: it does not continue the checkpoint kept here", note)
        return self._kept(new, note) if new.size > state.size else state

    def _kept(self, new: Checkpoint, note: str) -> LogState:
        return LogState(note, new.size, new.root, self._now())

    def _alarmed(self, state: LogState, alarm: str, note: str) -> LogState:
        return msgspec.structs.replace(state, alarm=alarm, alarm_note=note, alarm_at=self._now())

    def _write(self, state: LogState) -> None:
        write_private(self._state.log, encode(state))


def _certified_key(certificate: bytes, trust: LogTrust) -> Ed25519PublicKey:
    """The log's key; raises `ProtocolViolation` unless one of the CAs made it the log's."""
    *others, last = trust.roots
    for root in others:
        with contextlib.suppress(ProtocolViolation):
            return log_key(certificate, root)
    return log_key(certificate, last)


def read_log(state: StateDirectory) -> LogState:
    """What is known of the log; raises `StateError`."""
    return read_struct(state.log, LogState) or LogState()
