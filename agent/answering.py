"""Answering a summons: reach the person, begin the challenge, present, submit, tell how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.capturing import Booth
from agent.config import Config
from agent.devices import Devices
from agent.enclave import EnclaveGate
from agent.erasing import Eraser
from agent.errors import (
    AgentError,
    AuthorityRefused,
    AuthorityUnreachable,
    BiometricError,
    NobodyPresent,
    ProfileError,
    StateError,
)
from agent.extension import KeptAtDevice, Modality
from agent.failing import ReportTime
from agent.gathering import Gathering
from agent.link import Link
from agent.log import event, printable
from agent.measuring import Measurer
from agent.openings import OpeningStore
from agent.outbox import Outbox, PendingEvidence
from agent.owning import Owning
from agent.pipelines import Pipelines
from agent.presence import require_presence
from agent.presentation import Answer, Presentation
from agent.profile import ProfileVault, RecordHeader
from agent.prompting import Prompter, ResultNote, Step, SummonsCall
from agent.standing import StandingBook
from agent.state import StateDirectory
from agent.timings import Stopwatch, TimingLog
from hal import Busy, Clock, Deadline, DeviceError, NotFound
from protocol.codec import ProtocolViolation
from protocol.messages import Activation, ModalityModel, PresenceClaim, RosterEntry, Summons, Verdict

SENSOR_WAIT_S = 10.0
ERASE_WAIT_S = 300.0


@dataclass(frozen=True)
class _Begun:
    """An activated challenge: whose profile, which modalities, and how somebody was seen to be there."""

    activation: Activation
    header: RecordHeader
    modalities: list[str]
    presence: PresenceClaim | None


@dataclass(frozen=True)
class Answerer:
    """Answers one summons at a time, in a thread of its own; `now` gives POSIX seconds."""

    config: Config
    link: Link
    devices: Devices
    modalities: Mapping[str, Modality]
    pipelines: Pipelines
    vault: ProfileVault
    gate: EnclaveGate
    state: StateDirectory
    prompter: Prompter
    outbox: Outbox
    book: StandingBook
    timings: TimingLog
    now: Callable[[], float]
    clock: Clock
    random: Callable[[int], bytes]
    measurer: Measurer | None = None

    @property
    def openings(self) -> OpeningStore:
        """Where the openings of commitments are kept, where policy and consent want any."""
        return OpeningStore(self.state.openings, self.random, self.now)

    def answer(self, summons: Summons, watch_started: Callable[[str, Stopwatch], None]) -> Verdict | None:
        """Try until somebody has presented themselves or the summons expires; the verdict, if there is one.

        `watch_started` gets challenge and stopwatch of each presentation. No error escapes: each is logged, and the
        person is told.
        """
        roster = [entry for entry in summons.roster if self._header(entry) is not None]
        if not roster:
            event(logging.ERROR, "nobody of the summons' roster is enrolled here", challenge=summons.challenge_id)
            return None
        while self._open(summons):
            try:
                return self._attempt(summons, roster, watch_started)
            except _TryAgain as again:
                event(logging.WARNING, "the challenge waits", challenge=summons.challenge_id, reason=str(again))
                self.clock.sleep(min(self.config.prompt.retry_s, max(0.0, summons.expires_at - self.now())))
            except (AgentError, DeviceError, ProtocolViolation) as error:
                self._tell_failure(summons.challenge_id, error)
                return None
        event(logging.WARNING, "a summons expired unanswered", challenge=summons.challenge_id)
        return None

    def _open(self, summons: Summons) -> bool:
        """Whether the summons still waits and the agent is not stopping."""
        return self.now() < summons.expires_at and Deadline.after(1, self.clock).remaining() > 0

    def _attempt(
        self, summons: Summons, roster: list[RosterEntry], watch_started: Callable[[str, Stopwatch], None]
    ) -> Verdict:
        entry = self._reach(summons, roster)
        presence = self._require_presence(summons, entry)
        header = self.vault.header(entry.record_id)
        try:
            with self.state.sensor_lock(Deadline.after(SENSOR_WAIT_S, self.clock)):
                modalities = self._usable(summons, header)
                self._lift_lock(header)
                watch = Stopwatch()
                with watch.stage("begin"):
                    activation = self._begin(summons, entry)
                received = Stopwatch()
                watch_started(summons.challenge_id, received)
                return self._present(_Begun(activation, header, modalities, presence), received, watch.stages())
        except (_NotReady, Busy) as error:
            self._tell(summons.challenge_id, "not-ready", str(error))
            raise _TryAgain(str(error)) from None

    def _reach(self, summons: Summons, roster: list[RosterEntry]) -> RosterEntry:
        call = SummonsCall(
            node=self.link.identity.name,
            challenge_id=summons.challenge_id,
            admins=[entry.admin for entry in roster],
            modalities=[name for name in summons.modalities if name in self.devices.modalities],
            reason=printable(summons.reason),
            expires_at=summons.expires_at,
        )
        name = self.prompter.summon(call)
        if name is None:
            raise _TryAgain("nobody has come to the sensors")
        return next(entry for entry in roster if entry.admin == name)

    def _require_presence(self, summons: Summons, entry: RosterEntry) -> PresenceClaim | None:
        """Whoever answered the prompt is at the machine, where the configuration asks for that."""
        deadline = Deadline.after(max(0.0, summons.expires_at - self.now()), self.clock)
        try:
            found = require_presence(self.config, deadline, lambda: self._ask_to_press(entry, deadline))
        except NobodyPresent as error:
            self._tell(summons.challenge_id, "not-ready", f"{error}. {error.remedy}")
            raise _TryAgain(str(error)) from None
        return found.claim if found is not None else None

    def _ask_to_press(self, entry: RosterEntry, deadline: Deadline) -> None:
        step = Step(
            node=self.link.identity.name,
            admin=entry.admin,
            purpose="challenge",
            step="presence",
            action="press",
            attempt=1,
            of=1,
            instruction="Press the button at the machine.",
            seconds=round(deadline.remaining(), 1),
        )
        self.prompter.instruct(step)

    def _usable(self, summons: Summons, header: RecordHeader) -> list[str]:
        """Modalities that are asked for, enrolled with the present model, and whose sensor is attached."""
        usable = []
        for model in header.modalities:
            name = model.modality
            if name not in summons.modalities or name not in self.devices.modalities or name not in self.pipelines:
                continue
            if self._same_model(model) and self._held(name, header) and self._attached(name):
                usable.append(name)
        need = self.config.presentation.minimum_modalities
        if len(usable) < need:
            raise _NotReady(f"{need} working sensors are needed, and there are {len(usable)}: run `keyvigil devices`")
        return usable

    def _lift_lock(self, header: RecordHeader) -> None:
        """Have a profile key that is locked opened again by the authority; raises `AuthorityRefused` if it does not.

        It is asked before the challenge is begun, so that nobody fails for a key that cannot answer.
        """
        with self.gate.use() as enclave:
            state = header.key.guard_state(enclave)
            if state is None or state.failures < state.limit:
                return
            grant = self.link.client.reset(header.record_id, header.key.reset_nonce(enclave))
            header.key.reset(enclave, grant.signature)
        event(logging.WARNING, "the lock of a profile key was lifted", admin=header.admin)

    def _same_model(self, enrolled: ModalityModel) -> bool:
        name = enrolled.modality
        try:
            same = self.pipelines[name].model == enrolled
        except BiometricError as error:
            event(logging.ERROR, "a modality is not usable", modality=name, error=str(error), remedy=error.remedy)
            return False
        if not same:
            event(logging.ERROR, "the profile was made by another model: enrol again", modality=name)
        return same

    def _held(self, name: str, header: RecordHeader) -> bool:
        """Whether a device that keeps one person's template has this person's."""
        if not isinstance(self.modalities[name], KeptAtDevice) or self.vault.holds(name, header.record_id):
            return True
        event(logging.ERROR, "the device holds another enrolment: enrol again", modality=name, admin=header.admin)
        return False

    def _attached(self, name: str) -> bool:
        try:
            self.devices.identify(name)
        except DeviceError as error:
            event(logging.ERROR, "a sensor is missing", modality=name, error=str(error), remedy=error.remedy)
            return not isinstance(error, NotFound)
        return True

    def _has_screen(self) -> bool:
        """Whether there is a screen to light a face with; one that is missing is left out, as a sensor is."""
        try:
            return self.devices.display() is not None
        except DeviceError as error:
            event(logging.ERROR, "the screen is missing", error=str(error), remedy=error.remedy)
            return False

    def _begin(self, summons: Summons, entry: RosterEntry) -> Activation:
        try:
            screen = self._has_screen()
            activation = self.link.client.begin(summons.challenge_id, entry.record_id, screen=screen)
        except AuthorityUnreachable as error:
            raise _NotReady(str(error)) from None
        except AuthorityRefused as error:
            if error.temporary:
                raise _NotReady(str(error)) from None
            raise
        if (activation.challenge_id, activation.record_id) != (summons.challenge_id, entry.record_id):
            raise ProtocolViolation("the authority activated another challenge")
        return activation

    def _present(self, begun: _Begun, watch: Stopwatch, before: dict[str, float]) -> Verdict:
        activation = begun.activation
        answer = self._presentation(begun, watch).perform()
        give_up_at = self.now() + max(0.0, activation.deadline_s - watch.elapsed())
        with watch.stage("submit"):
            verdict = self._submit(activation.challenge_id, answer, give_up_at)
        watch.mark("verdict")
        numbers = before | watch.stages() | {"total": round(watch.elapsed(), 4)}
        self.timings.write("presentation", activation.challenge_id, numbers)
        self._note(verdict)
        self._tell(activation.challenge_id, verdict.outcome.value, verdict.explanation or verdict.reason)
        return verdict

    def _presentation(self, begun: _Begun, watch: Stopwatch) -> Presentation:
        settings, activation, header = self.config.presentation, begun.activation, begun.header
        booth = Booth(
            node=self.link.identity.name,
            admin=header.admin,
            purpose="challenge",
            devices=self.devices,
            modalities=self.modalities,
            prompter=self.prompter,
            clock=self.clock,
            digits=printable(activation.digits),
            gestures=tuple(printable(gesture) for gesture in activation.gestures),
            flashes=tuple(printable(hue) for hue in activation.hues),
        )
        seconds = max(0.0, activation.deadline_s - settings.deadline_margin_s)
        deadline = Deadline.after(seconds, self.clock)
        return Presentation(
            identity=self.link.identity,
            certificate=self.link.certificate.thumbprint,
            activation=activation,
            header=header,
            modalities=begun.modalities,
            gathering=Gathering(booth, self.pipelines, settings, deadline, watch),
            pipelines=self.pipelines,
            vault=self.vault,
            gate=self.gate,
            settings=settings,
            random=self.random,
            watch=watch,
            report=ReportTime(watch, self.clock, activation.deadline_s, settings.failure_at_s),
            presence=begun.presence,
            measurer=self.measurer,
            openings=self.openings,
        )

    def erase(self, record_id: str) -> None:
        """Remove a profile by the authority's order, between presentations, and tell the authority."""
        booth = Booth(
            self.link.identity.name, "", "enrolment", self.devices, self.modalities, self.prompter, self.clock
        )
        with self.state.sensor_lock(Deadline.after(ERASE_WAIT_S, self.clock)):
            permit = Owning(self.link.identity, self.link.client, self.gate).permit_removal
            for left in Eraser(self.vault, self.gate, booth, self.openings, permit).erase(record_id):
                event(logging.ERROR, "an erasure is not complete", record=record_id, left=left)
        self.link.client.erased(record_id)

    def _submit(self, challenge_id: str, answer: Answer, give_up_at: float) -> Verdict:
        if answer.evidence is not None:
            pending = PendingEvidence(challenge_id, answer.evidence, give_up_at)
            return self.outbox.send(lambda: self.link.client, pending)
        if answer.failure is None:
            raise ProfileError("the presentation gave neither evidence nor a failure report")
        event(logging.WARNING, "the presentation did not succeed", challenge=challenge_id)
        return self.link.client.submit_failure(challenge_id, answer.failure)

    def _header(self, entry: RosterEntry) -> RecordHeader | None:
        """The header of an entry's profile, if it is here and of the administrator whom the entry names."""
        try:
            header = self.vault.header(entry.record_id)
            if header.admin != entry.admin:
                raise ProfileError("the sealed profile is of another administrator")
        except (ProfileError, ProtocolViolation) as error:
            event(logging.ERROR, "an enrolled profile is not usable", admin=entry.admin, error=str(error))
            return None
        return header

    def _note(self, verdict: Verdict) -> None:
        """Keep the verdict for `keyvigil status`; a full disk does not change it."""
        try:
            self.book.note_verdict(verdict)
        except StateError as error:
            event(logging.WARNING, "the verdict could not be stored", error=str(error), remedy=error.remedy)

    def _tell(self, challenge_id: str, outcome: str, reason: str) -> None:
        event(logging.INFO, "the presentation ended", challenge=challenge_id, outcome=outcome, reason=reason)
        note = ResultNote(
            node=self.link.identity.name, challenge_id=challenge_id, outcome=outcome, reason=printable(reason)
        )
        self.prompter.result(note)

    def _tell_failure(self, challenge_id: str, error: Exception) -> None:
        self._tell(challenge_id, "error", f"{error}. {getattr(error, 'remedy', '')}".strip())


class _TryAgain(Exception):
    """The summons stays open; the agent asks again later."""


class _NotReady(Exception):
    """Nothing has begun: a sensor is missing, or the authority could not be asked."""
