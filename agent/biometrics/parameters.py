"""Every constant that decides about a capture or a match, under one version.

The measurements behind the numbers are in docs/biometrics.md. Changing any number of this file needs a new `VERSION`:
templates carry it, and a template of another version is refused with the remedy to enrol again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.biometrics.values import Modality, Purpose

VERSION: Final = "1"
"""Version of this file as templates and evidence name it."""


@dataclass(frozen=True)
class Threshold:
    """`accept`: the least score of a match. `typical`: the median score of genuine attempts, where margin is 100."""

    accept: float
    typical: float


@dataclass(frozen=True)
class Limit:
    """Grading of one measure: 0 at `poor`, 100 at `good`, refused beyond `refuse`; `poor` may exceed `good`."""

    poor: float
    good: float
    refuse: float


@dataclass(frozen=True)
class Leeway:
    """How far a score of spoken digits may lie below 0, its best: `base` and `a_digit` for each digit, in nepers."""

    base: float
    a_digit: float

    def least(self, digits: int) -> float:
        """The least score of a string of `digits` digits that is accepted."""
        return -(self.base + self.a_digit * digits)


THRESHOLDS: Final = {
    Modality.FINGERPRINT: Threshold(accept=56.0, typical=190.0),
    Modality.FACE: Threshold(accept=0.53, typical=0.75),
    Modality.VOICE: Threshold(accept=0.55, typical=0.87),
}
"""Fingerprint: sum of the two best bozorth3 scores. Face: 1 - Euclidean distance. Voice: cosine."""

ALIKE: Final = {Modality.FINGERPRINT: 40.0, Modality.FACE: 0.45, Modality.VOICE: 0.40}
"""The least score of each sample of a template against the others; about the FMR 1 % point of its matcher."""

SAMPLES_MINIMUM: Final = {Modality.FINGERPRINT: 3, Modality.FACE: 1, Modality.VOICE: 2}
SAMPLES_MAXIMUM: Final = {Modality.FINGERPRINT: 6, Modality.FACE: 12, Modality.VOICE: 12}
"""How many samples make a template. More impressions of a finger raise its false match rate."""

# Fingerprint
FINGERPRINT_DPI: Final = 500
FINGERPRINT_DPI_RANGE: Final = (250, 1200)
FINGERPRINT_SIDE_RANGE: Final = (100, 1000)
"""Side of an image in pixels once it is at 500 dpi; the native code crashes on very small pictures."""
MINUTIAE_MAXIMUM: Final = 150
"""bozorth3 looks at the 150 best minutiae at most."""
MINUTIAE_MINIMUM: Final = {Purpose.ENROL: 18, Purpose.VERIFY: 14}
MINUTIAE_GOOD: Final = 40
NFIQ2_MINIMUM: Final = {Purpose.ENROL: 30, Purpose.VERIFY: 20}
FINGER_AREA_MM2: Final = Limit(poor=60.0, good=150.0, refuse=80.0)
FINGER_DARK: Final = 60.0
"""Mean grey of the ridge area below which too much pressure or moisture blackens the valleys."""
FINGER_PALE: Final = 232.0
"""Mean grey of the ridge area above which pressure or moisture is missing."""

# Face
FACE_MODEL: Final = "dlib-resnet-v1"
FACE_MODEL_SHA256: Final = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
FACE_POINTS_SHA256: Final = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
FACE_DIMENSIONS: Final = 128
FACE_SCALE: Final = 16384.0
"""Embedding value 1.0 as int16: values of the descriptor stay within +-0.6."""
FACE_SEARCH_SIDE: Final = (480, 640)
"""A picture is searched for faces at a longest side within this range."""
FACE_FRAMES_MAXIMUM: Final = 5
FACE_SECOND_SHARE: Final = 0.5
"""Another face of this share of the largest face's width counts as a second person."""
FACE_SECOND_CONFIDENCE: Final = 0.6
FACE_CONFIDENCE: Final = Limit(poor=0.0, good=1.0, refuse=0.1)
FACE_FRAME_SPREAD: Final = 0.55
"""Two frames whose descriptors are further apart than this do not show the same face."""
FACE_EYE_DISTANCE: Final = {Purpose.ENROL: Limit(20.0, 60.0, 32.0), Purpose.VERIFY: Limit(16.0, 60.0, 24.0)}
FACE_DARK: Final = Limit(poor=30.0, good=90.0, refuse=45.0)
FACE_BRIGHT: Final = Limit(poor=240.0, good=190.0, refuse=225.0)
FACE_CONTRAST: Final = Limit(poor=8.0, good=35.0, refuse=14.0)
FACE_CLIPPED: Final = Limit(poor=0.35, good=0.05, refuse=0.25)
FACE_IMBALANCE: Final = Limit(poor=0.75, good=0.15, refuse=0.55)
FACE_SHARPNESS: Final = Limit(poor=10.0, good=250.0, refuse=25.0)
FACE_YAW: Final = Limit(poor=0.45, good=0.10, refuse=0.30)
FACE_ROLL: Final = Limit(poor=45.0, good=8.0, refuse=30.0)

# Voice
VOICE_MODEL: Final = "campplus-192"
VOICE_MODEL_FILE: Final = "campplus_192_fp16w.onnx"
VOICE_MODEL_SHA256: Final = "2ba2ff6500bcefec11e4e489fa34e112c9c4ebad7599f7f35816f605db7f1fab"
VOICE_DIMENSIONS: Final = 192
VOICE_SCALE: Final = 32767.0
VOICE_RATE: Final = 16_000
VOICE_RATE_RANGE: Final = (8_000, 192_000)
VOICE_SECONDS_MAXIMUM: Final = 15.0
"""Speech beyond this is not looked at: it bounds time and memory."""
VOICE_SPEECH_SECONDS: Final = {Purpose.ENROL: Limit(1.5, 5.0, 2.5), Purpose.VERIFY: Limit(1.0, 4.0, 2.0)}
VOICE_SNR_DB: Final = Limit(poor=8.0, good=35.0, refuse=15.0)
VOICE_CLIPPED: Final = Limit(poor=0.01, good=0.0, refuse=0.001)
VOICE_QUIET_DBFS: Final = Limit(poor=-50.0, good=-26.0, refuse=-40.0)
"""Level of the loudest twentieth of the speech frames."""

# Spoken digits (docs/biometrics/digits.md)
DIGITS_MODEL: Final = "digits-tdnn"
DIGITS_MODEL_FILE: Final = "digits_tdnn.f16"
DIGITS_MODEL_SHA256: Final = "f9e4a422bbee03491ed478db6e080fc7d9a8773fef1bc1d7e91be368c33b7f0f"
DIGITS_FRAME_CAP: Final = 20.0
"""The most by which one frame of 20 ms can speak against a state, in nepers."""
DIGITS_SOUND_COST: Final = 1.0
"""What a frame of other sound between two digits costs, in nepers."""
DIGITS_NAME_CAP: Final = 6.0
"""The most by which one digit can speak against a string by the network alone, in nepers."""
DIGITS_OWN_CAP: Final = 20.0
"""As `DIGITS_NAME_CAP`, with the person's own takes."""
DIGITS_OWN_WEIGHT: Final = 20.0
"""Log probability of a digit by the person's own takes a unit of cosine."""
DIGITS_GAIN_CAP: Final = 100.0
DIGITS_GAIN_SHARE: Final = 8.0
"""The alignment's log likelihood ratio counts by this part, and as no worse than minus the cap."""
DIGITS_HEARD: Final = Leeway(6.0, 3.0)
"""At the sensor, whoever speaks: refuses what is clearly something else."""
DIGITS_STRANGER: Final = Leeway(4.0, 1.5)
"""At the match, where the template holds no takes of all ten digits."""
DIGITS_OWN: Final = Leeway(6.0, 2.0)
"""At the match, with the person's own takes."""
