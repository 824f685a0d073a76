"""One presentation: what the person gave → unlock → match → evidence, or a failure report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from agent import __version__
from agent.capturing import Beside
from agent.config import PresentationSection
from agent.enclave import EnclaveGate
from agent.errors import AgentError
from agent.failing import ReportTime
from agent.gathering import Gathering, Sample
from agent.identity import Identity
from agent.log import event
from agent.measuring import Measurer
from agent.offering import Offer, Offering, margin_of
from agent.openings import OpeningStore
from agent.pipelines import Pipelines
from agent.profile import OpenProfile, Probes, ProfileVault, RecordHeader, Unlocked, agreeing
from agent.prover import Prover
from agent.releasing import activated_shares, approval_in
from agent.timings import Stopwatch
from hal import AuthorisationFailed, DeviceError, DeviceKind, Enclave, Locked, NotFound
from protocol.codec import b64url
from protocol.digests import evidence_digest, failure_digest
from protocol.evidence import (
    BLINDING_BYTES,
    EAT_PROFILE,
    EvidenceClaims,
    commit,
    commitment_context,
    elapsed_bucket,
    encode_token,
    level,
    merkle_root,
    replay_tag,
)
from protocol.messages import (
    MOST_LOOKS,
    Activation,
    EvidenceSubmission,
    FailureSubmission,
    FlashClaim,
    InfraredClaim,
    PresenceClaim,
    QuoteEvidence,
    SensorIdentity,
)
from protocol.openings import OPENING_FORM, Opening, agreed_window_s
from protocol.release import ReleasedShares


@dataclass(frozen=True)
class _Shown:
    """What opened the profile: its offers in the order of the profile's modalities, and the least margin of them."""

    offers: Mapping[str, Offer]
    margin: int


@dataclass(frozen=True)
class _Signed:
    """The token with its claims, and what blinds each of its commitments (32 bytes each)."""

    token: str
    claims: EvidenceClaims
    blindings: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What a presentation gave: evidence, or a failure report that does not say what failed."""

    evidence: EvidenceSubmission | None
    failure: FailureSubmission | None
    matched: int


@dataclass(frozen=True)
class Presentation:
    """One activated challenge before the person's sensors; used once."""

    identity: Identity
    certificate: str
    activation: Activation
    header: RecordHeader
    modalities: Sequence[str]
    gathering: Gathering
    pipelines: Pipelines
    vault: ProfileVault
    gate: EnclaveGate
    settings: PresentationSection
    random: Callable[[int], bytes]
    watch: Stopwatch
    report: ReportTime
    presence: PresenceClaim | None = None
    measurer: Measurer | None = None
    openings: OpeningStore | None = None

    def perform(self) -> Answer:
        """Capture, unlock and sign; raises `DeviceError` only when the enclave fails.

        A failure report is made when everything of the profile is closed again, and at a time of its own: the quote
        tells the TPM's clock.
        """
        samples = self.gathering.all(self.modalities)
        self.watch.mark("captured")
        found = self._found(samples)
        if isinstance(found, Answer):
            return found
        with self.watch.stage("held back"):
            self.report.wait()
        return self._failure(found)

    def _found(self, samples: Mapping[str, Sample]) -> Answer | int:
        """Evidence, or how many modalities matched."""
        if len(samples) < self.settings.minimum_modalities:
            return 0
        try:
            return self._answer(samples)
        except (AgentError, AuthorisationFailed, NotFound) as error:
            event(logging.ERROR, "the sealed profile is not usable", error=str(error), remedy=error.remedy)
            return 0

    def _answer(self, samples: Mapping[str, Sample]) -> Answer | int:
        with self.watch.stage("unlock"), self.gate.use() as enclave:
            shares = activated_shares(self.identity, enclave, self.activation)
            profile = self._opened(enclave, shares)
        try:
            offering = Offering(self.gathering, self.pipelines, self.watch, self.activation.challenge_id)
            offers = offering.all(profile, samples, self.settings.minimum_modalities)
            if len(offers) >= self.settings.minimum_modalities and (answer := self._unlock(profile, offers, shares)):
                return answer
            with self.watch.stage("remember"):
                self.vault.remember(profile, _digests(offers, released_only=True))
            return len(offers)
        finally:
            profile.wipe()

    def _opened(self, enclave: Enclave, shares: ReleasedShares) -> OpenProfile:
        record, approval = self.activation.record_id, approval_in(self.activation.approval)
        profile = self.vault.open(enclave, self.identity.node_id, record, shares, approval)
        if approval is not None:
            self.vault.raise_floor(enclave, approval.version)
        return profile

    def _unlock(self, profile: OpenProfile, offers: Mapping[str, Offer], shares: ReleasedShares) -> Answer | None:
        """Try the roots that the offers may open at the enclave; the first that it takes has signed the evidence."""
        probes = {name: one.probe for name, one in offers.items() if one.probe is not None}
        released = frozenset(offers) - frozenset(probes)
        with self.watch.stage("decode"):
            attempts = profile.attempts(probes, released)
        try:
            return self._first(attempts, offers, probes, shares)
        finally:
            for attempt in attempts:
                attempt.wipe()

    def _first(
        self, attempts: Sequence[Unlocked], offers: Mapping[str, Offer], probes: Probes, shares: ReleasedShares
    ) -> Answer | None:
        released = frozenset(offers) - frozenset(probes)
        with self.gate.use() as enclave:
            for attempt in attempts:
                with self.watch.stage("agree"):
                    shown = self._shown(attempt, offers, probes, released)
                with self.watch.stage("sign"):
                    signed = self._signed(enclave, attempt, shown)
                if signed is not None:
                    self._keep(enclave, attempt, shown, signed)
                    return self._evidence(enclave, attempt, shown, shares, signed.token)
        return None

    def _shown(
        self, attempt: Unlocked, offers: Mapping[str, Offer], probes: Probes, released: frozenset[str]
    ) -> _Shown:
        distances = agreeing(attempt, probes, released)
        names = [name for name in self.modalities if name in distances or name in released]
        margins = [margin_of(distances[name]) if name in distances else offers[name].margin for name in names]
        return _Shown({name: offers[name] for name in names}, min(margins))

    def _signed(self, enclave: Enclave, attempt: Unlocked, shown: _Shown) -> _Signed | None:
        """The token, if the profile key answers to the attempt's root; raises `Locked`."""
        if len(shown.offers) < self.settings.minimum_modalities:
            return None
        blindings = [self.random(BLINDING_BYTES) for _ in shown.offers]
        claims = self._claims(shown, attempt, blindings)
        try:
            token = encode_token(claims, lambda digest: attempt.sign(enclave, digest))
            return _Signed(token, claims, blindings)
        except Locked:
            raise
        except AuthorisationFailed:
            return None

    def _keep(self, enclave: Enclave, attempt: Unlocked, shown: _Shown, signed: _Signed) -> None:
        """Keep the openings where policy and the consent behind this profile let it; otherwise nobody has them again.

        Evidence is given all the same when they cannot be kept.
        """
        asked = self.activation.opening_s
        consent = attempt.version.header.consent_version
        window_s = 0.0 if isinstance(asked, msgspec.UnsetType) else min(asked, agreed_window_s(consent))
        if self.openings is None or window_s < 1:
            return
        try:
            with self.watch.stage("openings"):
                selection = Prover.of(self.identity).selection(self.activation.pcr_selection)
                self.openings.keep(enclave, selection, self._openings(shown, signed, consent), window_s)
        except (AgentError, DeviceError) as error:
            event(logging.ERROR, "the openings were not kept", error=str(error), remedy=error.remedy)

    def _openings(self, shown: _Shown, signed: _Signed, consent: str) -> list[Opening]:
        claims = signed.claims
        return [
            Opening(
                form=OPENING_FORM,
                node_id=claims.iss,
                record_id=claims.record,
                challenge_id=claims.challenge,
                nonce=self.activation.nonce,
                model=one.model,
                features=one.features,
                blinding=blinding,
                index=index,
                leaves=claims.commitments,
                consent_version=consent,
            )
            for index, (one, blinding) in enumerate(zip(shown.offers.values(), signed.blindings, strict=True))
        ]

    def _evidence(
        self, enclave: Enclave, attempt: Unlocked, shown: _Shown, shares: ReleasedShares, token: str
    ) -> Answer:
        digests = _digests(shown.offers)
        with self.watch.stage("remember"):
            self.vault.accept(attempt.version, digests)
        share: int | msgspec.UnsetType = msgspec.UNSET
        try:
            with self.watch.stage("refresh"):
                share = self.vault.refresh(enclave, attempt, shares, digests)
        except (AgentError, DeviceError) as error:
            event(logging.ERROR, "the sealed profile was not refreshed", error=str(error), remedy=error.remedy)
        with self.watch.stage("quote"):
            quote = self._quote(enclave, evidence_digest(token))
            nv = self.measurer.prove(enclave, evidence_digest(token)) if self.measurer is not None else None
        evidence = EvidenceSubmission(token=token, quote=quote, nv=msgspec.UNSET if nv is None else nv, share=share)
        return Answer(evidence, None, len(shown.offers))

    def _claims(self, shown: _Shown, attempt: Unlocked, blindings: Sequence[bytes]) -> EvidenceClaims:
        matched, tag_key = [*shown.offers.values()], attempt.version.tag_key()
        node, record, challenge = self.identity.node_id, self.header.record_id, self.activation.challenge_id
        context = commitment_context(node, record, challenge)
        leaves = [
            commit(blinding, context, self.activation.nonce, one.model, one.features)
            for one, blinding in zip(matched, blindings, strict=True)
        ]
        return EvidenceClaims(
            eat_profile=EAT_PROFILE,
            iss=node,
            eat_nonce=b64url(self.activation.nonce),
            challenge=challenge,
            record=record,
            certificate=self.certificate,
            modalities=[one.model for one in matched],
            sensors=[one.sensor for one in matched],
            commitments=leaves,
            commitment=merkle_root(leaves),
            elapsed=elapsed_bucket(self.watch.elapsed()),
            quality=level(min(one.quality for one in matched)),
            margin=level(shown.margin),
            counter=attempt.version.number + 1,
            agent=f"keyvigil/{__version__}",
            presence=self.presence or msgspec.UNSET,
            flashes=self._flashes(shown),
            infrared=self._infrared(shown),
            replay=[replay_tag(tag_key, one.model, one.features) if one.digest else b"" for one in matched],
        )

    def _flashes(self, shown: _Shown) -> FlashClaim | msgspec.UnsetType:
        """What lit somebody for a modality that matched: it is not there unless the colours were judged good."""
        screens = [screen for name, screen in self.gathering.lit.items() if name in shown.offers]
        count = len(self.activation.hues)
        if not screens or not count:
            return msgspec.UNSET
        screen = screens[0]
        return FlashClaim(
            count=count, driver=screen.driver, driver_sha256=screen.driver_sha256, transport=screen.transport
        )

    def _infrared(self, shown: _Shown) -> InfraredClaim | msgspec.UnsetType:
        """What looked on beside the camera of a modality that matched, for as long as it agreed."""
        cameras = [one for name, one in self.gathering.beside.items() if name in shown.offers and one.looks]
        if any(one.sensor.kind == DeviceKind.CAMERA for one in shown.offers.values()):
            self._check_pinned(cameras)
        if not cameras:
            return msgspec.UNSET
        one = cameras[0]
        return InfraredClaim(sensor=one.sensor, strobe=one.strobe, looks=min(one.looks, MOST_LOOKS))

    def _check_pinned(self, cameras: Sequence[Beside]) -> None:
        """Tell here what the authority will make of a face without the second camera of its enrolment."""
        pinned = self.header.infrared
        if isinstance(pinned, msgspec.UnsetType) or any(_same_device(one.sensor, pinned) for one in cameras):
            return
        text = "the infrared camera of the enrolment did not look on: the face does not count"
        event(logging.WARNING, text, remedy="Put it back, or enrol anew with what is there now.")

    def _failure(self, matched: int) -> Answer:
        challenge, nonce = self.activation.challenge_id, self.activation.nonce
        digest = failure_digest(challenge, self.activation.record_id, nonce)
        with self.watch.stage("quote"), self.gate.use() as enclave:
            quote = self._quote(enclave, digest)
        return Answer(None, FailureSubmission(quote=quote), matched)

    def _quote(self, enclave: Enclave, digest: bytes) -> QuoteEvidence:
        return Prover.of(self.identity).evidence(enclave, digest, self.activation.pcr_selection)


def _same_device(one: SensorIdentity, other: SensorIdentity) -> bool:
    """Whatever the code of their driver."""
    return msgspec.structs.replace(one, driver_sha256=other.driver_sha256) == other


def _digests(offers: Mapping[str, Offer], *, released_only: bool = False) -> dict[str, list[bytes]]:
    """Digests to remember; of a presentation that opened nothing only of what a matcher took for the person."""
    return {
        name: [one.digest]
        for name, one in offers.items()
        if one.digest and not (released_only and one.probe is not None)
    }
