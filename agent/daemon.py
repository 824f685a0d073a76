"""The node's daemon: one connection, and a task for each thing that the authority may ask."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from agent.answering import Answerer
from agent.data_plane import FactsReporter
from agent.deliveries import DeliveryDesk, Receipt
from agent.errors import AgentError, AuthorityRefused
from agent.event_log import read_event_log
from agent.events import EventStream
from agent.log import event
from agent.logbook import LogBook
from agent.owning import Owning
from agent.prover import Prover
from agent.signals import NetworkWatcher
from agent.threads import in_thread
from agent.timings import Stopwatch
from hal import Busy, Deadline, DeviceError
from protocol.codec import ProtocolViolation
from protocol.digests import attest_digest, group_digest
from protocol.messages import (
    AttestRequest,
    AttestSubmission,
    DeliveryAck,
    DeliveryEvent,
    ErasureOrder,
    Event,
    GroupSubmission,
    GroupSummons,
    LogCheckpoint,
    Outcome,
    StatusEvent,
    Summons,
)

LEASE_CHECK_S = 10.0
"""Longest wait between two looks at the leases; a shorter one ends exactly at the next lease's end.

A machine that slept, or whose clock was set, is noticed within so many seconds.
"""
FACTS_CHECK_S = 10.0
"""Longest wait between two looks at what the sinks offer to peers."""
SOON_S = 1.0
TIMED_DELIVERY_S = 60.0
"""The first delivery this soon after a presentation is taken to be its consequence in the timings."""

MOST_SUMMONSES = 32
MOST_ATTESTATIONS = 4
MOST_DELIVERIES = 4
MOST_CHECKPOINTS = 4
MOST_ERASURES = 32
"""What may wait to be dealt with; a delivery beyond that waits at the authority, anything else is dropped."""
SUMMONSES_KNOWN = 1024
FORKED = "the authority's audit log is not the one of before"
"""Until somebody at the node accepts the log no new key is taken; those held end with their lease."""

T = TypeVar("T")
EXPECTED = (AgentError, DeviceError, ProtocolViolation)


@dataclass
class Daemon:
    """Runs until `stop` is called or a signal asks for it; `abort` ends waits in other threads."""

    answerer: Answerer
    desk: DeliveryDesk
    logbook: LogBook
    now: Callable[[], float]
    abort: threading.Event
    watcher: NetworkWatcher | None = None

    def __post_init__(self) -> None:
        self._summonses: asyncio.Queue[Summons] = asyncio.Queue(MOST_SUMMONSES)
        self._attestations: asyncio.Queue[AttestRequest | GroupSummons] = asyncio.Queue(MOST_ATTESTATIONS)
        self._deliveries: asyncio.Queue[DeliveryEvent] = asyncio.Queue(MOST_DELIVERIES)
        self._checkpoints: asyncio.Queue[LogCheckpoint] = asyncio.Queue(MOST_CHECKPOINTS)
        self._erasures: asyncio.Queue[ErasureOrder] = asyncio.Queue(MOST_ERASURES)
        self._wake_leases = asyncio.Event()
        self._stopping = asyncio.Event()
        self._wake_facts = asyncio.Event()
        self._reporter = FactsReporter(self.desk.facts)
        self._known: deque[str] = deque(maxlen=SUMMONSES_KNOWN)
        self._unsaid: dict[int, DeliveryAck] = {}
        self._watch: tuple[str, Stopwatch] | None = None
        self._opening_ends: float | None = None

    async def run(self) -> None:
        """Serve; raises what ended a task that should not end."""
        self._install_signals()
        await self._tried("openings of before", self.answerer.openings.recover)
        duties = (self._listen(), self._present(), self._attest(), self._receive(), self._follow_log(), self._erase())
        upkeep = (self._keep_leases(), self._keep_certificate(), self._keep_openings())
        work = (*duties, *upkeep, self._watch_network(), self._offer_facts())
        tasks = [asyncio.create_task(part) for part in (*work, self._warm_up(), self._resume(), self._own_tpm())]
        stopped = asyncio.create_task(self._stopping.wait())
        permanent = tasks[: len(work)]
        await asyncio.wait([stopped, *permanent], return_when=asyncio.FIRST_COMPLETED)
        event(logging.INFO, "the agent stops")
        self.abort.set()
        failed = [task for task in permanent if task.done()]
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.gather(stopped, *tasks, return_exceptions=True)
        await in_thread(self.desk.stop)
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
                await self._deliveries.put(message)
            case ErasureOrder():
                self._enqueue(self._erasures, message, "an erasure")
            case AttestRequest() | GroupSummons():
                self._enqueue(self._attestations, message, "a machine attestation")
            case LogCheckpoint():
                self._enqueue(self._checkpoints, message, "a checkpoint of the log")
            case StatusEvent():
                await self._note_status(message)

    def _summon(self, summons: Summons) -> None:
        """A summons is pushed again on every connection; it is answered once."""
        if summons.challenge_id not in self._known and self._enqueue(self._summonses, summons, "a summons"):
            self._known.append(summons.challenge_id)
            event(logging.INFO, "summons", challenge=summons.challenge_id, reason=summons.reason)

    @staticmethod
    def _enqueue(queue: asyncio.Queue[T], message: T, what: str) -> bool:
        try:
            queue.put_nowait(message)
        except asyncio.QueueFull:
            event(logging.WARNING, f"{what} was dropped: too many wait already")
            return False
        return True

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
            await self._tried("the presentation", self.answerer.answer, summons, self._started)

    def _started(self, challenge_id: str, watch: Stopwatch) -> None:
        self._watch = (challenge_id, watch)

    async def _receive(self) -> None:
        while True:
            delivery = await self._deliveries.get()
            await self._tried("a delivery", self._take, delivery)
            self._wake_leases.set()

    async def _follow_log(self) -> None:
        while True:
            checkpoint = await self._checkpoints.get()
            await self._tried("the checkpoint of the log", self._take_checkpoint, checkpoint)

    def _take_checkpoint(self, checkpoint: LogCheckpoint) -> None:
        self.logbook.take(checkpoint, self.answerer.link.client)

    def _take(self, delivery: DeliveryEvent) -> None:
        if self.logbook.forked:
            refusal = DeliveryAck(installed=False, sinks=[], error=FORKED)
            self.answerer.link.client.acknowledge(delivery.number, refusal)
            event(logging.ERROR, "a delivery was refused", number=delivery.number, cause=FORKED)
            return
        receipt = self.desk.take(delivery)
        if receipt.installed_now:
            self._time(delivery.number, receipt)
        self._unsaid[delivery.number] = receipt.ack
        self._say()

    def _say(self) -> None:
        """Send what was not acknowledged yet; the authority waits for it with the next step of a rotation."""
        for number, ack in [*self._unsaid.items()]:
            try:
                self.answerer.link.client.acknowledge(number, ack)
            except AuthorityRefused:
                self._unsaid.pop(number, None)
                raise
            self._unsaid.pop(number, None)

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

    async def _erase(self) -> None:
        """An order that fails is given again with the next connection."""
        while True:
            order = await self._erasures.get()
            await self._tried("an erasure", self.answerer.erase, order.record_id)

    async def _attest(self) -> None:
        while True:
            request = await self._attestations.get()
            work = self._share if isinstance(request, GroupSummons) else self._attest_now
            await self._tried("a machine attestation", work, request)

    def _attest_now(self, request: AttestRequest) -> None:
        link = self.answerer.link
        digest = attest_digest(link.identity.node_id, request.nonce)
        prover, measurer = Prover.of(link.identity), self.answerer.measurer
        with self.answerer.gate.use() as enclave:
            quote = prover.evidence(enclave, digest, request.pcr_selection)
            nv = measurer.prove(enclave, digest, counted=False) if measurer and prover.attests else None
        log = read_event_log(self.answerer.config.attestation.event_log) if request.event_log else None
        sent = AttestSubmission(
            nonce=request.nonce,
            quote=quote,
            nv=nv or msgspec.UNSET,
            event_log=msgspec.UNSET if log is None else log,
        )
        result = link.client.attest(sent)
        level = logging.DEBUG if result.outcome is Outcome.ACCEPTED else logging.WARNING
        event(level, "machine attestation", outcome=result.outcome.value, reason=result.reason)

    def _share(self, summons: GroupSummons) -> None:
        """Quote over evidence that was accepted at the sensor node of this node's challenge group."""
        link = self.answerer.link
        digest = group_digest(summons.challenge_id, summons.nonce, summons.evidence_sha256)
        prover = Prover.of(link.identity)
        quote = self.answerer.gate.run(lambda enclave: prover.evidence(enclave, digest, summons.pcr_selection))
        verdict = link.client.submit_group(summons.challenge_id, GroupSubmission(quote=quote))
        self.answerer.book.note_verdict(verdict)
        event(logging.INFO, "shared a presentation", challenge=summons.challenge_id, outcome=verdict.outcome.value)

    async def _fetch_missed(self) -> None:
        """After each connection: keys that a sink lost, or that could not be installed, are fetched again."""
        await self._tried("missed deliveries", self._fetch_now)
        self._unsaid |= dict(self.desk.lacking())
        await self._tried("acknowledgements", self._say)
        self._reporter.forget()
        self._wake_facts.set()

    def _fetch_now(self) -> None:
        """One delivery that is refused, for its lease say, does not keep the others out."""
        after = self.desk.reconcile()
        if after is None:
            return
        for delivery in self.answerer.link.client.deliveries(after):
            try:
                self._take(delivery)
            except EXPECTED as error:
                _log_failure("a missed delivery", error)

    async def _keep_leases(self) -> None:
        while True:
            await self._tried("expired leases", self.desk.expire)
            await self._tried("keys whose time has come", self.desk.switch)
            if self._unsaid:
                await self._tried("an acknowledgement", self._say)
            due = self.desk.next_expiry()
            wait = LEASE_CHECK_S if due is None else min(LEASE_CHECK_S, max(SOON_S, due - self.now()))
            self._wake_leases.clear()
            # `wait_for` may lose a cancellation that comes together with the event (CPython 3.11).
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake_leases.wait()

    async def _offer_facts(self) -> None:
        """What the sinks offer to peers is told with every connection, and looked at again now and then."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FACTS_CHECK_S):
                    await self._wake_facts.wait()
            self._wake_facts.clear()
            await self._tried("the report of the data plane", self._tell_facts)

    def _tell_facts(self) -> None:
        self._reporter.tell(self.answerer.link.client)

    async def _keep_openings(self) -> None:
        """Erase each opening when its window ends."""
        while True:
            await self._tried("openings past their window", self._sweep_openings)
            due = self._opening_ends
            await asyncio.sleep(LEASE_CHECK_S if due is None else min(LEASE_CHECK_S, max(SOON_S, due - self.now())))

    def _sweep_openings(self) -> None:
        openings = self.answerer.openings
        openings.sweep()
        self._opening_ends = openings.next_end()

    async def _keep_certificate(self) -> None:
        link, settings = self.answerer.link, self.answerer.config.connection
        delay = settings.retry_min_s
        while True:
            jitter = random.uniform(-1, 1)  # noqa: S311 - spreads renewals, guards nothing
            due = link.certificate.renew_at(jitter)
            while (wait := due - self.now()) > 0:
                await asyncio.sleep(min(wait, LEASE_CHECK_S))
            if await self._tried("the certificate's renewal", self._renew):
                delay = settings.retry_min_s
                # To a clock that is wrong every new certificate is past its time as well.
                await asyncio.sleep(settings.retry_max_s)
            else:
                await asyncio.sleep(delay)
                delay = min(delay * 2, settings.retry_max_s)

    def _renew(self) -> None:
        """Renew between presentations and enrolments, for their evidence names the certificate that they began with.

        One that goes on until the certificate ends is not waited for any longer.
        """
        link, clock = self.answerer.link, self.answerer.clock
        with ExitStack() as stack:
            with suppress(Busy):
                left = Deadline.after(max(0.0, link.certificate.not_after - self.now() - SOON_S), clock)
                stack.enter_context(self.answerer.state.sensor_lock(left))
            link.renew()

    async def _watch_network(self) -> None:
        """Nothing for ever where nothing is to be watched: a duty that ends would end the daemon."""
        if self.watcher is None:
            await self._stopping.wait()
        while self.watcher is not None:
            await self._tried("watching the network", self._watch_now, self.watcher)
            await asyncio.sleep(self.watcher.interval_s)

    def _watch_now(self, watcher: NetworkWatcher) -> None:
        watcher.look()
        watcher.send(self.answerer.link.client)

    async def _warm_up(self) -> None:
        for name, pipeline in self.answerer.pipelines.items():
            await self._tried(f"loading the models for {name}", pipeline.warm_up)

    async def _own_tpm(self) -> None:
        """Once, or as often as it takes: a join may have been interrupted, or be older than this."""
        delay = self.answerer.config.connection.retry_min_s
        while not await self._tried("giving the TPM to the authority", self._own_tpm_now):
            await asyncio.sleep(delay)
            delay = min(delay * 2, self.answerer.config.connection.retry_max_s)

    def _own_tpm_now(self) -> None:
        answerer = self.answerer
        Owning(answerer.link.identity, answerer.link.client, answerer.gate, answerer.measurer).settle()

    async def _resume(self) -> None:
        """Keys that sinks lost with the machine, and evidence that an earlier run made and could not deliver."""
        await self._tried("stored keys", self.desk.restore)
        await self._tried("earlier evidence", self._resume_now)

    def _resume_now(self) -> None:
        verdict = self.answerer.outbox.resume(lambda: self.answerer.link.client)
        if verdict is not None:
            self.answerer.book.note_verdict(verdict)

    @staticmethod
    async def _tried(what: str, work: Callable[..., object], *arguments: object) -> bool:
        """Do blocking `work` in a thread; an error is logged, and the daemon goes on with everything else."""
        try:
            await in_thread(work, *arguments)
        except Exception as error:  # noqa: BLE001 - nothing that one message or device does may end the other duties
            _log_failure(what, error)
            return False
        return True


def _log_failure(what: str, error: Exception) -> None:
    """Log an error; the text of one that nobody foresaw could hold anything, and stays out."""
    if isinstance(error, EXPECTED):
        event(logging.ERROR, f"{what} failed", error=str(error), remedy=getattr(error, "remedy", ""))
    else:
        event(logging.ERROR, f"{what} failed", error=f"internal error: {type(error).__name__}")
