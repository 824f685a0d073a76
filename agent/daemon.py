"""The node's daemon: one connection, and a task for each thing that the authority may ask."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agent.answering import Answerer
from agent.deliveries import DeliveryDesk, Receipt
from agent.enclave import pcr_selection
from agent.errors import AgentError
from agent.events import EventStream
from agent.joining import quote_evidence
from agent.log import event
from agent.timings import Stopwatch
from hal import DeviceError
from protocol.codec import ProtocolViolation
from protocol.digests import attest_digest
from protocol.messages import (
    AttestRequest,
    AttestSubmission,
    DeliveryEvent,
    Event,
    Outcome,
    StatusEvent,
    Summons,
)

LEASE_CHECK_S = 60.0
"""Longest wait between two looks at the leases; a shorter one ends exactly at the next lease's end."""
SOON_S = 1.0
TIMED_DELIVERY_S = 60.0
"""The first delivery this soon after a presentation is taken to be its consequence in the timings."""

EXPECTED = (AgentError, DeviceError, ProtocolViolation)


@dataclass
class Daemon:
    """Runs until `stop` is called or a signal asks for it; `abort` ends waits in other threads."""

    answerer: Answerer
    desk: DeliveryDesk
    now: Callable[[], float]
    abort: threading.Event

    def __post_init__(self) -> None:
        self._summonses: asyncio.Queue[Summons] = asyncio.Queue()
        self._deliveries: asyncio.Queue[DeliveryEvent] = asyncio.Queue()
        self._wake_leases = asyncio.Event()
        self._stopping = asyncio.Event()
        self._known: set[str] = set()
        self._watch: tuple[str, Stopwatch] | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve; raises what ended a task that should not end."""
        self._install_signals()
        work = (self._listen(), self._present(), self._receive(), self._keep_leases(), self._keep_certificate())
        tasks = [asyncio.create_task(part) for part in (*work, self._warm_up(), self._resume())]
        stopped = asyncio.create_task(self._stopping.wait())
        permanent = tasks[: len(work)]
        await asyncio.wait([stopped, *permanent], return_when=asyncio.FIRST_COMPLETED)
        event(logging.INFO, "the agent stops")
        self.abort.set()
        failed = [task for task in permanent if task.done()]
        for task in (stopped, *tasks, *self._background):
            task.cancel()
        await asyncio.gather(stopped, *tasks, *self._background, return_exceptions=True)
        await asyncio.to_thread(self.desk.stop)
        for task in failed:
            task.result()

    def stop(self) -> None:
        """Ask the daemon to end."""
        self._stopping.set()

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def _listen(self) -> None:
        link = self.answerer.link
        settings = self.answerer.config.connection
        stream = EventStream(link.identity.authority, link.context, settings, self._fetch_missed)
        async for message in stream.events():
            await self._dispatch(message)

    async def _dispatch(self, message: Event) -> None:
        match message:
            case Summons():
                self._summon(message)
            case DeliveryEvent():
                self._deliveries.put_nowait(message)
            case AttestRequest():
                self._spawn(self._attest(message))
            case StatusEvent():
                await self._note_status(message)

    def _summon(self, summons: Summons) -> None:
        """A summons is pushed again on every connection; it is answered once."""
        if summons.challenge_id not in self._known:
            self._known.add(summons.challenge_id)
            event(logging.INFO, "summons", challenge=summons.challenge_id, reason=summons.reason)
            self._summonses.put_nowait(summons)

    async def _note_status(self, status: StatusEvent) -> None:
        fields = {
            "state": status.state,
            "score": status.score,
            "tier": status.tier.value,
            "access": status.access.value,
        }
        event(logging.INFO, "standing", **fields)
        await self._tried("the standing", self.answerer.book.note_status, status)

    async def _present(self) -> None:
        while True:
            summons = await self._summonses.get()
            await asyncio.to_thread(self.answerer.answer, summons, self._started)

    def _started(self, challenge_id: str, watch: Stopwatch) -> None:
        self._watch = (challenge_id, watch)

    async def _receive(self) -> None:
        while True:
            delivery = await self._deliveries.get()
            await self._tried("a delivery", self._take, delivery)
            self._wake_leases.set()

    def _take(self, delivery: DeliveryEvent) -> None:
        receipt = self.desk.take(delivery)
        if receipt.installed_now:
            self._time(delivery.number, receipt)
        self.answerer.link.client.acknowledge(delivery.number, receipt.ack)

    def _time(self, number: int, receipt: Receipt) -> None:
        event(logging.INFO, "keys installed", network=receipt.network, number=number)
        if self._watch is None:
            return
        challenge, watch = self._watch
        spans = {name: watch.since(name) for name in ("captured", "verdict")}
        if spans["captured"] is None or spans["captured"] > TIMED_DELIVERY_S:
            return
        self._watch = None
        numbers = {f"since_{name}": round(span, 4) for name, span in spans.items() if span is not None}
        self.answerer.timings.write("delivery", challenge, numbers | {"number": float(number)})

    async def _attest(self, request: AttestRequest) -> None:
        await self._tried("a machine attestation", self._attest_now, request)

    def _attest_now(self, request: AttestRequest) -> None:
        link = self.answerer.link
        digest = attest_digest(link.identity.node_id, request.nonce)
        selection = pcr_selection(request.pcr_selection)
        quote = self.answerer.gate.run(lambda enclave: enclave.quote(digest, selection))
        result = link.client.attest(AttestSubmission(nonce=request.nonce, quote=quote_evidence(quote)))
        level = logging.DEBUG if result.outcome is Outcome.ACCEPTED else logging.WARNING
        event(level, "machine attestation", outcome=result.outcome.value, reason=result.reason)

    async def _fetch_missed(self) -> None:
        """After each connection: keys that a sink lost, or that could not be installed, are fetched again."""
        await self._tried("missed deliveries", self._fetch_now)

    def _fetch_now(self) -> None:
        after = self.desk.reconcile()
        if after is not None:
            for delivery in self.answerer.link.client.deliveries(after):
                self._take(delivery)

    async def _keep_leases(self) -> None:
        while True:
            await self._tried("expired leases", self.desk.expire)
            due = self.desk.next_expiry()
            wait = LEASE_CHECK_S if due is None else min(LEASE_CHECK_S, max(SOON_S, due - self.now()))
            self._wake_leases.clear()
            try:
                await asyncio.wait_for(self._wake_leases.wait(), wait)
            except TimeoutError:
                continue

    async def _keep_certificate(self) -> None:
        link, settings = self.answerer.link, self.answerer.config.connection
        delay = settings.retry_min_s
        while True:
            jitter = random.uniform(-1, 1)  # noqa: S311 - spreads renewals, guards nothing
            due = link.certificate.renew_at(jitter)
            while (wait := due - self.now()) > 0:
                await asyncio.sleep(min(wait, LEASE_CHECK_S))
            if await self._tried("the certificate's renewal", link.renew):
                delay = settings.retry_min_s
            else:
                await asyncio.sleep(delay)
                delay = min(delay * 2, settings.retry_max_s)

    async def _warm_up(self) -> None:
        for name, pipeline in self.answerer.pipelines.items():
            await self._tried(f"loading the models for {name}", pipeline.warm_up)

    async def _resume(self) -> None:
        """Evidence that an earlier run made and could not deliver."""
        await self._tried("earlier evidence", self._resume_now)

    def _resume_now(self) -> None:
        verdict = self.answerer.outbox.resume(lambda: self.answerer.link.client)
        if verdict is not None:
            self.answerer.book.note_verdict(verdict)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _tried(self, what: str, work: Callable[..., object], *arguments: object) -> bool:
        """Do blocking `work` in a thread; an expected error is logged, and the daemon goes on."""
        try:
            await asyncio.to_thread(work, *arguments)
        except EXPECTED as error:
            remedy = getattr(error, "remedy", "")
            event(logging.ERROR, f"{what} failed", error=str(error), remedy=remedy)
            return False
        return True
