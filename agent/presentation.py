"""One presentation: what the person gave → unlock → match → evidence, or a failure report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from agent import __version__
from agent.config import PresentationSection
from agent.enclave import EnclaveGate
from agent.errors import AgentError, BiometricError
from agent.gathering import Gathering, Sample
from agent.identity import Identity
from agent.log import event
from agent.measuring import Measurer
from agent.pipelines import Match, Pipelines, RefusesReplays
from agent.profile import OpenProfile, ProfileVault, RecordHeader
from agent.prover import Prover
from agent.timings import Stopwatch
from hal import AuthorisationFailed, Enclave
from protocol.codec import b64url
from protocol.digests import evidence_digest, failure_digest
from protocol.evidence import (
    EAT_PROFILE,
    EvidenceClaims,
    commit,
    commitment_context,
    elapsed_bucket,
    encode_token,
    level,
    merkle_root,
)
from protocol.messages import (
    Activation,
    EvidenceSubmission,
    FailureSubmission,
    ModalityModel,
    PresenceClaim,
    QuoteEvidence,
    SensorIdentity,
)

OPENING_BYTES = 32


@dataclass(frozen=True)
class Matched:
    """A modality whose features matched: its model, sensor, quality and margin (0 to 100), and the features.

    `digest` is what the capture is known by later, where its pipeline tells replays.
    """

    model: ModalityModel
    sensor: SensorIdentity
    quality: int
    margin: int
    features: bytes = field(repr=False)
    digest: bytes = field(default=b"", repr=False)


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
    presence: PresenceClaim | None = None
    measurer: Measurer | None = None

    def perform(self) -> Answer:
        """Capture, match and sign; raises `DeviceError` only when the enclave fails."""
        samples = self.gathering.all(self.modalities)
        self.watch.mark("captured")
        if len(samples) < self.settings.minimum_modalities:
            return self._failure()
        try:
            return self._answer(samples)
        except (AgentError, AuthorisationFailed) as error:
            event(logging.ERROR, "the sealed profile is not usable", error=str(error), remedy=error.remedy)
            return self._failure()

    def _answer(self, samples: Mapping[str, Sample]) -> Answer:
        with self.watch.stage("unlock"), self.gate.use() as enclave:
            share, record = self.activation.release_share, self.activation.record_id
            profile = self.vault.open(enclave, self.identity.node_id, record, share)
        matched = self._match_all(profile, samples)
        matched |= self._try_again(profile, samples, matched)
        answered = len(matched) >= self.settings.minimum_modalities
        digests = {name: [one.digest] for name, one in matched.items() if one.digest}
        with self.watch.stage("remember"):
            self.vault.remember(profile, digests, answered=answered)
        if not answered:
            return self._failure(len(matched))
        return self._evidence(profile, [matched[name] for name in self.modalities if name in matched])

    def _match_all(self, profile: OpenProfile, samples: Mapping[str, Sample]) -> dict[str, Matched]:
        found = {name: self._match(profile, name, sample) for name, sample in samples.items()}
        return {name: matched for name, matched in found.items() if matched is not None}

    def _match(self, profile: OpenProfile, name: str, sample: Sample) -> Matched | None:
        template = profile.templates.get(name)
        if template is None:
            return None
        pipeline = self.pipelines[name]
        try:
            with self.watch.stage("match"):
                match: Match = pipeline.match(template, sample.features)
            if match.accepted and self._replayed(profile, name, sample):
                return None
            digest = pipeline.digest(sample.features) if isinstance(pipeline, RefusesReplays) else b""
        except BiometricError as error:
            event(logging.ERROR, "a modality is not comparable", modality=name, error=str(error), remedy=error.remedy)
            return None
        if not match.accepted:
            return None
        sensor = self.gathering.sensors[name]
        return Matched(pipeline.model, sensor, sample.quality, match.margin, sample.features.to_bytes(), digest)

    def _replayed(self, profile: OpenProfile, name: str, sample: Sample) -> bool:
        """Whether a matching capture was given before: then it counts as none."""
        pipeline = self.pipelines[name]
        if not isinstance(pipeline, RefusesReplays):
            return False
        with self.watch.stage("replay"):
            found = pipeline.replayed(profile.past.get(name, ()), sample.features)
        if found:
            event(
                logging.WARNING,
                "a capture was given before or put together",
                modality=name,
                challenge=self.activation.challenge_id,
            )
        return found

    def _try_again(
        self, profile: OpenProfile, samples: Mapping[str, Sample], matched: Mapping[str, Matched]
    ) -> dict[str, Matched]:
        """Further samples of modalities that did not match, where they could make the presentation succeed."""
        found: dict[str, Matched] = {}
        waiting = [name for name in samples if name not in matched and self.gathering.may_repeat(name)]
        while waiting and len(matched) + len(found) + len(waiting) >= self.settings.minimum_modalities:
            name = waiting[0]
            sample = self.gathering.again(name)
            if sample is not None and (one := self._match(profile, name, sample)) is not None:
                found[name] = one
            if sample is None or name in found or not self.gathering.may_repeat(name):
                waiting.remove(name)
        return found

    def _evidence(self, profile: OpenProfile, matched: list[Matched]) -> Answer:
        claims = self._claims(matched, self.vault.next_counter(profile))
        with self.gate.use() as enclave:
            with self.watch.stage("sign"):
                token = encode_token(claims, lambda digest: profile.sign(enclave, digest))
            with self.watch.stage("quote"):
                quote = self._quote(enclave, evidence_digest(token))
                nv = self.measurer.prove(enclave, evidence_digest(token)) if self.measurer is not None else None
        evidence = EvidenceSubmission(token=token, quote=quote, nv=msgspec.UNSET if nv is None else nv)
        return Answer(evidence, None, len(matched))

    def _claims(self, matched: list[Matched], counter: int) -> EvidenceClaims:
        node, record, challenge = self.identity.node_id, self.header.record_id, self.activation.challenge_id
        context = commitment_context(node, record, challenge)
        # The opening is not kept: nobody, this node included, can check the commitment later (default policy).
        leaves = [
            commit(self.random(OPENING_BYTES), context, self.activation.nonce, one.model, one.features)
            for one in matched
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
            margin=level(min(one.margin for one in matched)),
            counter=counter,
            agent=f"keyvigil/{__version__}",
            presence=self.presence or msgspec.UNSET,
        )

    def _failure(self, matched: int = 0) -> Answer:
        challenge, nonce = self.activation.challenge_id, self.activation.nonce
        digest = failure_digest(challenge, self.activation.record_id, nonce)
        with self.watch.stage("quote"), self.gate.use() as enclave:
            quote = self._quote(enclave, digest)
        return Answer(None, FailureSubmission(quote=quote), matched)

    def _quote(self, enclave: Enclave, digest: bytes) -> QuoteEvidence:
        return Prover.of(self.identity).evidence(enclave, digest, self.activation.pcr_selection)
