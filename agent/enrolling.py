"""Enrolling an administrator: consent, guided captures, templates sealed here, a public key registered there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent.capturing import Booth
from agent.client import AuthorityClient
from agent.config import EnrolmentSection, PresentationSection
from agent.enclave import EnclaveGate
from agent.errors import AgentError, AuthorityRefused, AuthorityUnreachable, ConfigError, EnrolmentFailed, StraySample
from agent.extension import KeptAtDevice, PersonAbsent
from agent.identity import Identity
from agent.log import event, printable
from agent.owning import Owning
from agent.pipelines import Bindable, Examined, FeatureVector, KeepsBeside, Pipelines, RefusesReplays
from agent.profile import Bound, ProfileDraft, ProfileKey, ProfileVault, Sealed, Sealing, can_bind
from agent.prompting import Feedback
from agent.prover import Prover
from agent.releasing import open_shares
from agent.room import check_room
from hal import Deadline, DeviceError, Enclave, Grant, KeyUse, TimedOut
from protocol.digests import enrol_digest
from protocol.hpke import POINT_BYTES
from protocol.messages import (
    CertifiedGuard,
    CertifiedIndex,
    CertifiedPublic,
    EnrolFinish,
    EnrolResult,
    EnrolSession,
    EnrolStart,
)
from protocol.openings import check_consent
from protocol.release import enrolment_release_info

SEND_TRIES = 4
STRAYS = 3
REPEATED = "This is the same capture again, not a new one."


@dataclass(frozen=True)
class Consent:
    """What was agreed to: version and SHA-256 of the text, and when (POSIX seconds)."""

    version: str
    sha256: str
    at: float


@dataclass
class _Round:
    """Good samples of one modality so far; more than `refusals` bad ones end it."""

    modality: str
    want: int
    refusals: int | None
    good: list[FeatureVector]
    refused: int = 0
    reason: str = ""

    @property
    def done(self) -> bool:
        return len(self.good) >= self.want

    @property
    def attempt(self) -> int:
        return len(self.good) + self.refused + 1

    def note(self, found: Examined) -> None:
        if found.features is not None:
            self.good.append(found.features)
            return
        self.refused, self.reason = self.refused + 1, found.reason
        if self.refusals is not None and self.refused >= self.refusals:
            raise EnrolmentFailed(f"{self.modality}: {self.refused} samples were refused, the last: {self.reason}")


@dataclass(frozen=True)
class Guide:
    """Leads one person through the captures of an enrolment, with feedback after each.

    `past` gets the digests of the captures behind each template, by modality.
    """

    booth: Booth
    pipelines: Pipelines
    settings: EnrolmentSection
    past: dict[str, list[bytes]] = field(default_factory=dict, repr=False)

    def enrolled(self, modality: str) -> bytes | Bound:
        """The template of one modality, or what a secret is bound to; a sample that does not match the others is taken
        anew.

        Raises `EnrolmentFailed`, `BiometricError`, `DeviceError`.
        """
        pipeline = self.pipelines[modality]
        good: list[FeatureVector] = []
        for _ in range(STRAYS):
            good = self._features(modality, good)
            try:
                template = pipeline.enrol(good)
            except StraySample as stray:
                event(logging.WARNING, "a sample is taken anew", error=str(stray))
                del good[stray.index]
                continue
            if digests := self._digests(modality, good):
                self.past[modality] = digests
            if not (isinstance(pipeline, Bindable) and can_bind(pipeline)):
                return template
            side = pipeline.side(good) if isinstance(pipeline, KeepsBeside) else b""
            return Bound(pipeline.code, pipeline.embedding(good), side)
        raise EnrolmentFailed(f"{modality}: the samples do not match one another")

    def withdraw(self, modality: str) -> None:
        """Have the device forget what it enrolled, where it keeps anything and was used; a failure is logged."""
        if modality not in self.booth.seen or not isinstance(self.booth.modalities[modality], KeptAtDevice):
            return
        try:
            with self.booth.session(modality, 0, self._limit()) as session:
                session.withdraw()
        except (AgentError, DeviceError, PersonAbsent) as error:
            event(logging.ERROR, "a device keeps what it enrolled", modality=modality, error=str(error))

    def _features(self, modality: str, good: list[FeatureVector]) -> list[FeatureVector]:
        """`good` and as many more good samples as a template needs."""
        effort = self.booth.modalities[modality].effort
        round_ = _Round(modality, effort.samples, None if effort.timed else self.settings.refusals, good)
        limit = self._limit()
        try:
            with self.booth.session(modality, effort.samples, limit) as session:
                while not round_.done:
                    self._examine(round_, session.take(round_.attempt, limit if effort.timed else self._limit()))
                    self.booth.clock.sleep(effort.pause_s)
        except PersonAbsent as error:
            raise EnrolmentFailed(str(error)) from None
        except TimedOut as error:
            raise EnrolmentFailed(f"{modality}: {round_.reason or error}") from None
        return round_.good

    def _examine(self, round_: _Round, captures: Sequence[Any]) -> None:
        found = self._unrepeated(round_, self.pipelines[round_.modality].examine(captures, "enrolment"))
        accepted = found.features is not None
        try:
            round_.note(found)
        finally:
            self.booth.prompter.feedback(
                Feedback(
                    node=self.booth.node,
                    step=round_.modality,
                    accepted=accepted,
                    quality=found.quality,
                    reason=found.reason,
                    done=len(round_.good),
                    of=round_.want,
                )
            )

    def _unrepeated(self, round_: _Round, found: Examined) -> Examined:
        """`found`, or the refusal of a capture that was given in this enrolment before."""
        pipeline = self.pipelines[round_.modality]
        if found.features is None or not isinstance(pipeline, RefusesReplays):
            return found
        if not pipeline.repeated(self._digests(round_.modality, round_.good), found.features):
            return found
        return Examined(found.quality, REPEATED)

    def _digests(self, modality: str, good: Sequence[FeatureVector]) -> list[bytes]:
        """What the captures of these features are known by later, as far as their pipeline tells replays."""
        pipeline = self.pipelines[modality]
        if not isinstance(pipeline, RefusesReplays):
            return []
        return [digest for one in good if (digest := pipeline.digest(one))]

    def _limit(self) -> Deadline:
        return Deadline.after(self.settings.capture_timeout_s, self.booth.clock)


@dataclass(frozen=True)
class Enrolment:
    """What an enrolment needs besides the person; `now` gives POSIX seconds, `wait` sleeps."""

    identity: Identity
    client: AuthorityClient
    vault: ProfileVault
    gate: EnclaveGate
    pipelines: Pipelines
    presentation: PresentationSection
    now: Callable[[], float]
    wait: Callable[[float], None]
    check_room: bool = True

    def start(self, admin: str, ticket: str, pin: str, replaces: str | None = None) -> EnrolSession:
        """Authenticate the administrator; the ticket is spent, or a try of it. `replaces` names a record to renew.

        Raises `NoRoom` before that where the enclave has no room for another profile.
        """
        if self.check_room:
            first = not self.vault.headers()
            self.gate.run(lambda enclave: check_room(enclave, first=first))
        old = msgspec.UNSET if replaces is None else replaces
        return self.client.start_enrolment(EnrolStart(admin=admin, ticket=ticket, pin=pin, replaces=old))

    def choose(self, session: EnrolSession, sensors: Sequence[str]) -> list[str]:
        """Modalities to enrol: those that the authority allows and this node has; raises `ConfigError`."""
        chosen = [name for name in sensors if name in session.modalities and name in self.pipelines]
        need = self.presentation.minimum_modalities
        allowed = printable(", ".join(session.modalities))
        if len(chosen) < need:
            raise ConfigError(
                f"{need} modalities are needed, but this node offers {', '.join(chosen) or 'none'}",
                remedy=f"Configure more of those that the authority allows: {allowed}.",
            )
        if not any(can_bind(self.pipelines[name]) for name in chosen):
            raise ConfigError(
                f"none of {', '.join(chosen)} is a modality that a secret can be bound to",
                remedy=f"Configure face or voice as well; the authority allows {allowed}.",
            )
        return chosen

    def finish(
        self, session: EnrolSession, admin: str, guide: Guide, chosen: Sequence[str], consent: Consent
    ) -> EnrolResult:
        """Capture, seal and register.

        The sealed record is on disk before the authority hears of it, and is removed again when it refuses. What a
        device keeps is withdrawn when the enrolment fails, unless the authority may have registered it.
        """
        try:
            finish = self._sealed(session, admin, guide, chosen, consent)
            return self._register(session, finish)
        except _Unconfirmed:
            raise
        except BaseException:
            for name in chosen:
                guide.withdraw(name)
            raise

    def _sealed(
        self, session: EnrolSession, admin: str, guide: Guide, chosen: Sequence[str], consent: Consent
    ) -> EnrolFinish:
        enrolled = {name: self._enrolled(session, guide, name) for name in chosen}
        draft = ProfileDraft(
            record_id=session.record_id,
            admin=admin,
            modalities=[self.pipelines[name].model for name in chosen],
            sensors=[guide.booth.seen[name] for name in chosen],
            consent_version=consent.version,
            created_at=self.now(),
            templates={name: one for name, one in enrolled.items() if not isinstance(one, Bound)},
            bound={name: one for name, one in enrolled.items() if isinstance(one, Bound)},
            past=guide.past,
            infrared=next((one.sensor for name, one in guide.booth.beside.items() if name in chosen), msgspec.UNSET),
        )
        key, guard, floor = self._seal(session, draft)
        return EnrolFinish(
            profile_key=key,
            guard=guard,
            floor=floor,
            modalities=draft.modalities,
            sensors=draft.sensors,
            infrared=draft.infrared,
            consent_version=consent.version,
            consent_sha256=consent.sha256,
            consent_at=consent.at,
        )

    def _enrolled(self, session: EnrolSession, guide: Guide, name: str) -> bytes | Bound:
        if isinstance(guide.booth.modalities[name], KeptAtDevice):
            self.vault.hold(name, session.record_id)
        return guide.enrolled(name)

    def _seal(
        self, session: EnrolSession, draft: ProfileDraft
    ) -> tuple[CertifiedPublic, CertifiedGuard | msgspec.UnsetType, CertifiedIndex | msgspec.UnsetType]:
        """Seal the profile; its key, the key's guard and the floor under approvals, certified for the authority."""
        node_id, record_id, nonce = self.identity.node_id, session.record_id, session.nonce
        digest = enrol_digest(session.enrolment_id, record_id, nonce)
        info = enrolment_release_info(node_id, record_id, session.enrolment_id, nonce)
        prover = Prover.of(self.identity)
        with self.gate.use() as enclave:
            prover.check(enclave)
            shares = open_shares(self.identity, enclave, session.sealed_share, info)
            grant = self._leave(enclave, session) if session.granted else None
            sealing = Sealing(node_id, shares, session.approval_key, prover.attests, digest, grant)
            made = self.vault.seal(enclave, draft, sealing)
            key = prover.key(enclave, made.key.certified, KeyUse.SIGN, digest)
        if not prover.attests:
            return key, msgspec.UNSET, msgspec.UNSET
        return key, _guard(made.key), _floor(made)

    def _leave(self, enclave: Enclave, session: EnrolSession) -> Grant:
        """The leave of the TPM's owner to make the profile key's guard."""
        command = enclave.plan_guard(session.record_id, session.approval_key)
        return self._owning().permit_index(session.enrolment_id, command)

    def _owning(self) -> Owning:
        return Owning(self.identity, self.client, self.gate)

    def _discard(self, record_id: str) -> None:
        """Take back what was sealed, in the enclave as well."""
        key, permit = self.vault.header(record_id).key, self._owning().permit_removal
        try:
            self.gate.run(lambda enclave: key.forget(enclave, permit))
        except (AgentError, DeviceError) as error:
            event(logging.WARNING, "the enclave keeps an index that nothing uses", error=str(error))
        self.vault.discard(record_id)

    def _register(self, session: EnrolSession, finish: EnrolFinish) -> EnrolResult:
        """Send until there is an answer; a record that the authority may have accepted is never thrown away."""
        perhaps_received = False
        for attempt in range(SEND_TRIES):
            try:
                return self.client.finish_enrolment(session.enrolment_id, finish)
            except AuthorityUnreachable as error:
                perhaps_received = perhaps_received or error.sent
                event(logging.WARNING, "the enrolment could not be sent", attempt=attempt + 1, error=str(error))
            except AuthorityRefused as error:
                if not error.temporary and not perhaps_received:
                    self._discard(session.record_id)
                    raise
                event(logging.WARNING, "the enrolment was not taken", attempt=attempt + 1, error=str(error))
            self.wait(2.0**attempt)
        raise _Unconfirmed(
            "the authority did not confirm the enrolment",
            remedy="Ask the operator whether the profile is pending; if not, enrol again with a new ticket.",
        )


def _guard(key: ProfileKey) -> CertifiedGuard | msgspec.UnsetType:
    if (guard := key.guard) is None:
        return msgspec.UNSET
    change_key = guard.change[:POINT_BYTES]
    return CertifiedGuard(public=guard.public, attest=guard.attest, signature=guard.signature, change_key=change_key)


def _floor(sealed: Sealed) -> CertifiedIndex | msgspec.UnsetType:
    if (floor := sealed.floor) is None:
        return msgspec.UNSET
    return CertifiedIndex(public=floor.public, attest=floor.attest, signature=floor.signature)


class _Unconfirmed(AgentError):
    """The authority may have registered the enrolment."""


def consent_to(session: EnrolSession, now: float) -> Consent:
    """Consent to exactly the text that the session showed; raises `ProtocolViolation` for one that hides something."""
    check_consent(session.consent_version, session.consent_text)
    return Consent(session.consent_version, hashlib.sha256(session.consent_text.encode()).hexdigest(), now)
