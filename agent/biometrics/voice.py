"""Voices: recording to quality, speaker embedding and score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import embeddings, parameters, speech
from agent.biometrics._campplus import CampPlusEngine
from agent.biometrics.digits import DigitVerifier, consistent
from agent.biometrics.errors import CaptureRefused
from agent.biometrics.grading import Grading
from agent.biometrics.recording import Recording
from agent.biometrics.settings import VoiceSettings
from agent.biometrics.values import Features, Modality, Purpose, Quality, Sample

_CLIP = 32_700
_SAY_AGAIN = "Say exactly the digits shown, one after another."


class VoicePipeline:
    """CAM++ embeddings compared by their cosine."""

    modality = Modality.VOICE

    def __init__(
        self,
        settings: VoiceSettings | None = None,
        engine: CampPlusEngine | None = None,
        verifier: DigitVerifier | None = None,
    ) -> None:
        self.settings = settings or VoiceSettings()
        self._engine = engine or CampPlusEngine()
        self._verifier = verifier or DigitVerifier()

    @property
    def model(self) -> str:
        """Name and SHA-256 of the network."""
        return f"{parameters.VOICE_MODEL}/sha256:{parameters.VOICE_MODEL_SHA256}"

    @property
    def threshold(self) -> parameters.Threshold:
        """From which score a match is accepted."""
        return parameters.THRESHOLDS[self.modality]

    @property
    def alike(self) -> float:
        """The least score of each sample of a template against the others."""
        return parameters.ALIKE[self.modality]

    @property
    def samples(self) -> tuple[int, int]:
        """The least and the greatest number of samples of a template."""
        return parameters.SAMPLES_MINIMUM[self.modality], parameters.SAMPLES_MAXIMUM[self.modality]

    def warm_up(self) -> None:
        """Load the network and run it once; raises `ModelError`."""
        noise = np.random.default_rng(0).normal(0.0, 0.05, parameters.VOICE_RATE).astype(np.float32)
        self._engine.describe(noise)
        self._verifier.warm_up()

    def assess(self, recording: Recording, purpose: Purpose = Purpose.VERIFY) -> Quality:
        """Level, noise, clipping and the seconds of speech so far, without the network."""
        return _judge(recording, speech.find(recording.samples()), purpose)

    def extract(self, recording: Recording, purpose: Purpose = Purpose.VERIFY) -> Sample:
        """The speaker embedding of a recording; raises `CaptureRefused` with every reason, `ModelError`.

        Where digits were expected they must have been said, and the features carry how they were (`consistent`).
        """
        samples = recording.samples()
        found = speech.find(samples)
        quality = _judge(recording, found, purpose)
        if not quality.acceptable:
            raise CaptureRefused(quality)
        takes = self._takes(samples, recording.expected, quality)
        embedding = embeddings.unit(self._engine.describe(found.samples))
        vector = embeddings.quantise(embedding, parameters.VOICE_SCALE)
        return Sample(Features(self.modality, self.model, vector, takes), quality)

    def compare(self, enrolled: tuple[NDArray[np.int16], ...], probes: tuple[NDArray[np.int16], ...]) -> float:
        """Cosine between the mean of the enrolled and the mean of the probes' embeddings."""
        scale = parameters.VOICE_SCALE
        one, other = (embeddings.unit(embeddings.mean(group, scale)) for group in (enrolled, probes))
        return float(one @ other)

    def consistent(self, enrolled: Sequence[bytes], probe: bytes) -> bool:
        """Whether the digits of a probe were said as those of the template were; both are `Features.side`.

        A probe that was asked for no digits is consistent with anything. Raises `BiometricError` for damaged bytes.
        """
        return not probe or consistent(enrolled, probe)

    def _takes(self, samples: NDArray[np.float32], expected: str, quality: Quality) -> bytes:
        if not expected:
            return b""
        heard = self._verifier.listen(samples, expected)
        if not heard.accepted:
            raise CaptureRefused(Quality(0, (_SAY_AGAIN,), quality.measures))
        return heard.takes


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
