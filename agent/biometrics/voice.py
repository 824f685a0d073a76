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
from agent.biometrics.voice_centre import VoiceCentre, opened

_CLIP = 32_700
_DITHER_SEED = 0
_SAY_AGAIN = "Say exactly the digits shown, one after another."


class VoicePipeline:
    """CAM++ embeddings, the centre of all voices taken off, compared by their cosine."""

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
        """Name and SHA-256 of the network, and the beginnings of the centre's and of the digits' network's."""
        centre = self.settings.centre_sha256 if self.settings.centre else parameters.VOICE_CENTRE_SHA256
        digits = parameters.DIGITS_MODEL_SHA256
        network = f"{parameters.VOICE_MODEL}/sha256:{parameters.VOICE_MODEL_SHA256}"
        return f"{network}/centre:{centre[:16]}/digits:{digits[:16]}"

    @property
    def threshold(self) -> parameters.Threshold:
        """From which score a match is accepted."""
        return parameters.THRESHOLDS[self.modality].moved(self.settings.threshold)

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
        self._verifier.warm_up()

    def assess(self, recording: Recording, purpose: Purpose = Purpose.VERIFY) -> Quality:
        """Level, noise, clipping and the seconds of speech so far, without the network."""
        return _judge(recording, speech.find(recording.samples()), purpose)

    def extract(self, recording: Recording, purpose: Purpose = Purpose.VERIFY) -> Sample:
        """The speaker embedding of a recording; raises `CaptureRefused` with every reason, `ModelError`.

        Where digits were expected they must have been said, and the features carry how they were (`consistent`).
        """
        samples = recording.samples()
        found, quality = _hear(recording, samples, purpose)
        takes = self._takes(samples, recording.expected, quality)
        raw, narrow = self._engine.describe(heard(found)), found.narrow
        embedding = self._centre().off(raw, narrow=narrow)
        length = parameters.VOICE_TELEPHONE_LENGTH if narrow else 1.0
        vector = embeddings.quantise(length * embedding, parameters.VOICE_SCALE)
        return Sample(Features(self.modality, self.model, vector, takes), quality)

    def compare(self, enrolled: tuple[NDArray[np.int16], ...], probes: tuple[NDArray[np.int16], ...]) -> float:
        """Cosine between the means of the enrolled and of the probes' embeddings, times the lengths of both.

        An embedding of the full band has length one and one of the telephone band, where strangers are more alike, a
        little less (`VOICE_TELEPHONE_LENGTH`), so that one threshold serves both.
        """
        (one, length), (other, length_of_other) = (_mean(group) for group in (enrolled, probes))
        return float(one @ other) * length * length_of_other

    @property
    def code(self) -> str:
        """What the embedding is bound by."""
        return parameters.VOICE_CODE

    def embedding(self, vectors: tuple[NDArray[np.int16], ...]) -> NDArray[np.float64]:
        """Direction `[192]` of the mean embedding; the centre of voices was taken off each."""
        return _mean(vectors)[0]

    def raw_embedding(self, recording: Recording) -> tuple[NDArray[np.float32], bool]:
        """What the network says `[192]` before the centre is taken off, and whether the band is a telephone's.

        For learning a centre (`VoiceCentre.adapted`); raises `CaptureRefused`, `ModelError`.
        """
        found, _ = _hear(recording, recording.samples(), Purpose.VERIFY)
        return self._engine.describe(heard(found)), found.narrow

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

    def _centre(self) -> VoiceCentre:
        return opened(self.settings.centre, self.settings.centre_sha256)


def _mean(group: tuple[NDArray[np.int16], ...]) -> tuple[NDArray[np.float64], float]:
    """Direction of the mean embedding, and the mean of the lengths, none of which counts as more than one."""
    lengths = np.linalg.norm(np.stack(group).astype(np.float64) / parameters.VOICE_SCALE, axis=1)
    return embeddings.unit(embeddings.mean(group, parameters.VOICE_SCALE)), min(1.0, float(lengths.mean()))


def heard(found: speech.Speech) -> NDArray[np.float32]:
    """The samples for the network: on a telephone band with faint white noise, always the same, in the empty half."""
    if not found.narrow:
        return found.samples
    sigma = 10 ** ((found.level_dbfs - parameters.VOICE_DITHER_DB) / 20)
    noise = np.random.default_rng(_DITHER_SEED).normal(0.0, sigma, len(found.samples))
    return (found.samples + noise).astype(np.float32)


def _hear(recording: Recording, samples: NDArray[np.float32], purpose: Purpose) -> tuple[speech.Speech, Quality]:
    """The speech and its quality; raises `CaptureRefused`."""
    found = speech.find(samples)
    quality = _judge(recording, found, purpose)
    if not quality.acceptable:
        raise CaptureRefused(quality)
    return found, quality


def _judge(recording: Recording, found: speech.Speech, purpose: Purpose) -> Quality:
    grading = Grading()
    clipped = float((np.abs(recording.pcm.astype(np.int32)) >= _CLIP).mean()) if recording.pcm.size else 0.0
    level = parameters.VOICE_QUIET_DBFS
    grading.judge("level_dbfs", found.level_dbfs, level, "Speak louder or closer to the microphone.")
    grading.judge("clipped", clipped, parameters.VOICE_CLIPPED, "Speak more softly, or turn the microphone down.")
    if found.level_dbfs >= level.refuse:
        noisy = "Find a quieter place, or come closer to the microphone."
        grading.judge("snr_db", found.snr_db, parameters.VOICE_SNR_DB[purpose], noisy)
    least = parameters.VOICE_SPEECH_SECONDS[purpose]
    longer = f"Speak longer: {least.refuse:g} seconds of speech are needed."
    grading.judge("speech_seconds", found.seconds, least, longer)
    if recording.lost:
        return grading.refuse("The microphone lost sound: close other programs and speak again.")
    return grading.quality()
