"""Voices: recording to quality, speaker embedding and score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import embeddings, parameters, speech
from agent.biometrics._campplus import CampPlusEngine
from agent.biometrics.errors import CaptureRefused
from agent.biometrics.grading import Grading
from agent.biometrics.recording import Recording
from agent.biometrics.settings import VoiceSettings
from agent.biometrics.values import Features, Modality, Purpose, Quality, Sample
from agent.biometrics.voice_centre import VoiceCentre, opened

_CLIP = 32_700
_DITHER_SEED = 0
_LEAST_MARGIN = 0.05


class VoicePipeline:
    """CAM++ embeddings compared by their cosine."""

    modality = Modality.VOICE

    def __init__(self, settings: VoiceSettings | None = None, engine: CampPlusEngine | None = None) -> None:
        self.settings = settings or VoiceSettings()
        self._engine = engine or CampPlusEngine()

    @property
    def model(self) -> str:
        """Name and SHA-256 of the network, and the beginning of the centre's."""
        centre = self.settings.centre_sha256 if self.settings.centre else parameters.VOICE_CENTRE_SHA256
        return f"{parameters.VOICE_MODEL}/sha256:{parameters.VOICE_MODEL_SHA256}/centre:{centre[:16]}"

    @property
    def threshold(self) -> parameters.Threshold:
        """From which score a match is accepted."""
        shipped = parameters.THRESHOLDS[self.modality]
        own = self.settings.threshold
        return parameters.Threshold(own, max(shipped.typical, own + _LEAST_MARGIN)) if own else shipped

    @property
    def alike(self) -> float:
        """The least score of each sample of a template against the others."""
        return parameters.ALIKE[self.modality]

    @property
    def samples(self) -> tuple[int, int]:
        """The least and the greatest number of samples of a template."""
        return parameters.SAMPLES_MINIMUM[self.modality], parameters.SAMPLES_MAXIMUM[self.modality]

    def warm_up(self) -> None:
        """Load the network and the centre, and run once; raises `ModelError`."""
        self._centre()
        noise = np.random.default_rng(0).normal(0.0, 0.05, parameters.VOICE_RATE).astype(np.float32)
        self._engine.describe(noise)

    def assess(self, recording: Recording, purpose: Purpose = Purpose.VERIFY) -> Quality:
        """Level, noise, clipping and the seconds of speech so far, without the network."""
        return _judge(recording, speech.find(recording.samples()), purpose)

    def extract(self, recording: Recording, purpose: Purpose = Purpose.VERIFY) -> Sample:
        """The speaker embedding of a recording; raises `CaptureRefused` with every reason, `ModelError`."""
        raw, narrow, quality = self._embed(recording, purpose)
        embedding = self._centre().off(raw, narrow=narrow)
        vector = embeddings.quantise(embedding, parameters.VOICE_SCALE)
        return Sample(Features(self.modality, self.model, vector), quality)

    def compare(self, enrolled: tuple[NDArray[np.int16], ...], probes: tuple[NDArray[np.int16], ...]) -> float:
        """Cosine between the mean of the enrolled and the mean of the probes' embeddings."""
        scale = parameters.VOICE_SCALE
        one, other = (embeddings.unit(embeddings.mean(group, scale)) for group in (enrolled, probes))
        return float(one @ other)

    def raw_embedding(self, recording: Recording) -> tuple[NDArray[np.float32], bool]:
        """What the network says `[192]` before the centre is taken off, and whether the band is a telephone's.

        For learning a centre (`VoiceCentre.adapted`); raises `CaptureRefused`, `ModelError`.
        """
        raw, narrow, _ = self._embed(recording, Purpose.VERIFY)
        return raw, narrow

    def _embed(self, recording: Recording, purpose: Purpose) -> tuple[NDArray[np.float32], bool, Quality]:
        found = speech.find(recording.samples())
        quality = _judge(recording, found, purpose)
        if not quality.acceptable:
            raise CaptureRefused(quality)
        return self._engine.describe(heard(found)), found.narrow, quality

    def _centre(self) -> VoiceCentre:
        return opened(self.settings.centre, self.settings.centre_sha256)


def heard(found: speech.Speech) -> NDArray[np.float32]:
    """The samples for the network: on a telephone band with faint white noise, always the same, in the empty half."""
    if not found.narrow:
        return found.samples
    sigma = 10 ** ((found.level_dbfs - parameters.VOICE_DITHER_DB) / 20)
    noise = np.random.default_rng(_DITHER_SEED).normal(0.0, sigma, len(found.samples))
    return (found.samples + noise).astype(np.float32)


def _judge(recording: Recording, found: speech.Speech, purpose: Purpose) -> Quality:
    grading = Grading()
    clipped = float((np.abs(recording.pcm.astype(np.int32)) >= _CLIP).mean()) if recording.pcm.size else 0.0
    grading.judge(
        "level_dbfs", found.level_dbfs, parameters.VOICE_QUIET_DBFS, "Speak louder or closer to the microphone."
    )
    grading.judge("clipped", clipped, parameters.VOICE_CLIPPED, "Speak more softly, or turn the microphone down.")
    grading.judge("snr_db", found.snr_db, parameters.VOICE_SNR_DB, "Find a quieter place, or come closer.")
    least = parameters.VOICE_SPEECH_SECONDS[purpose]
    longer = f"Speak longer: {least.refuse:g} seconds of speech are needed."
    grading.judge("speech_seconds", found.seconds, least, longer)
    if recording.lost:
        return grading.refuse("The microphone lost sound: close other programs and speak again.")
    return grading.quality()
