"""Every constant that decides about a capture or a match, under one version.

The measurements behind the numbers are in docs/biometrics.md. Changing any number of this file needs a new `VERSION`:
templates carry it, and a template of another version is refused with the remedy to enrol again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from agent.biometrics.values import Modality, Purpose

VERSION: Final = "3"
"""Version of this file as templates and evidence name it."""


@dataclass(frozen=True)
class Threshold:
    """`accept`: the least score of a match. `typical`: the median score of genuine attempts, where margin is 100."""

    accept: float
    typical: float

    def moved(self, own: float) -> Threshold:
        """With the site's own least score, or this one where it has none (0); half the way to the full margin stays."""
        return Threshold(own, max(self.typical, own + (self.typical - self.accept) / 2)) if own else self


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
    Modality.FACE: Threshold(accept=0.55, typical=0.80),
    Modality.VOICE: Threshold(accept=0.50, typical=0.84),
}
"""Face: 1 - Euclidean distance. Voice: cosine. Fingerprint: `FINGERPRINT_THRESHOLDS`."""

ALIKE: Final = {Modality.FINGERPRINT: 1.5, Modality.FACE: 0.45, Modality.VOICE: 0.40}
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
LEADER_FILE: Final = "leader.onnx"
LEADER_SHA256: Final = "da96e1221eea4afdf153997d6c4854ed306c146cfac76046e66cdecc14b2a1bb"
LEADER_RELIABILITY: Final = 0.4
"""The least reliability of a minutia that the network finds."""
FINGERPRINT_RELAXED_WEIGHT: Final = 20.0
"""Weight of the relaxed strength of pairs beside the number of coincident minutiae in a score."""
FINGERPRINT_THRESHOLDS: Final = {
    "neural": Threshold(accept=2.0, typical=9.0),
    "fast": Threshold(accept=2.0, typical=5.0),
}
"""Mean of the two best scores over the enrolled impressions."""
MINUTIAE_MINIMUM: Final = {Purpose.ENROL: 18, Purpose.VERIFY: 14}
MINUTIAE_GOOD: Final = 40
NFIQ2_MINIMUM: Final = {Purpose.ENROL: 30, Purpose.VERIFY: 10}
"""Impressions of 10 to 19 match as often as others; a template is better without them."""
FINGER_AREA_MM2: Final = Limit(poor=60.0, good=150.0, refuse=80.0)
FINGER_DARK: Final = 60.0
"""Mean grey of the ridge area below which too much pressure or moisture blackens the valleys."""
FINGER_PALE: Final = {Purpose.ENROL: 232.0, Purpose.VERIFY: 240.0}
"""Mean grey of the ridge area above which pressure or moisture is missing."""

# Face
FACE_MODEL: Final = "dlib-resnet-v1-onnx"
FACE_MODEL_FILE: Final = "dlib_resnet_128_fp16w.onnx"
FACE_MODEL_SHA256: Final = "2180e5afcfe52fd71cdb1f4f542a8ed3939b1a0e19e5a172e55276dc123c8bb7"
FACE_FINDER_FILE: Final = "dlib_mmod_fp16w.onnx"
FACE_FINDER_SHA256: Final = "348d8581543d2db57c3c545c94c40f33366991c740ff394f7af884099d41046d"
FACE_POINTS_SHA256: Final = "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
FACE_CODE: Final = "dlib-128"
FACE_CENTRE_FILE: Final = "face_centre.npy"
FACE_CENTRE_SHA256: Final = "0216ed0fe764150298a82b789c988ef8d607326a1b2f2e5eb2cd725f86a9da9d"
FACE_ARCFACE_CODE: Final = "arcface"
FACE_SCALE: Final = 16384.0
"""Embedding value 1.0 as int16: values of the descriptor stay within +-0.6."""
FACE_SEARCH_SIDE: Final = (320, 640)
"""A picture is searched for faces at twice its size, but with a longest side within this range."""
FACE_FINER_LEVELS: Final = 2
"""How many levels beyond that of the first find are searched: for faces down to 0.69 of its size."""
FACE_FOUND: Final = 0.0
FACE_SAME_UNION: Final = 0.34
FACE_SAME_COVER: Final = 0.6
"""Two windows that share more than this of their union, or of the smaller one, are of one face."""
FACE_FOLLOW_SIZE: Final = 1.8
"""A face is followed from frame to frame within a square of this many of its widths."""
FACE_FRAMES_MAXIMUM: Final = 7
"""As many as an answer to six gestures keeps, so that none of an answer goes unremembered."""
FACE_SECOND_SHARE: Final = 0.7
"""Another face of this share of the largest face's width counts as a second person."""
FACE_SECOND_CONFIDENCE: Final = 0.5
FACE_CONFIDENCE: Final = Limit(poor=0.0, good=1.0, refuse=0.4)
FACE_EYE_DISTANCE: Final = {Purpose.ENROL: Limit(8.0, 60.0, 24.0), Purpose.VERIFY: Limit(4.0, 50.0, 16.0)}
FACE_YAW: Final = {Purpose.ENROL: Limit(0.60, 0.05, 0.40), Purpose.VERIFY: Limit(0.75, 0.05, 0.60)}
FACE_PITCH: Final = Limit(poor=0.90, good=0.10, refuse=0.70)
FACE_ROLL: Final = Limit(poor=45.0, good=8.0, refuse=35.0)
FACE_DARK: Final = Limit(poor=0.0, good=90.0, refuse=28.0)
FACE_BRIGHT: Final = Limit(poor=255.0, good=200.0, refuse=240.0)
FACE_RANGE: Final = Limit(poor=0.0, good=60.0, refuse=25.0)
FACE_CLIPPED: Final = Limit(poor=0.60, good=0.02, refuse=0.40)
FACE_IMBALANCE: Final = Limit(poor=0.95, good=0.15, refuse=0.80)
FACE_SHARPNESS: Final = Limit(poor=0.0, good=120.0, refuse=15.0)
FACE_DETAIL: Final = Limit(poor=0.0, good=0.20, refuse=0.004)
FACE_EYES: Final = Limit(poor=0.0, good=0.60, refuse=0.12)
FACE_MOUTH: Final = Limit(poor=0.0, good=0.50, refuse=0.15)
FACE_SYMMETRY: Final = Limit(poor=-0.50, good=0.70, refuse=-0.40)
FACE_UNIT_SCALE: Final = 32767.0
"""Embedding value 1.0 as int16, for embeddings of length one."""
FACE_MODEL_BYTES: Final = 300_000_000
"""The largest network that a site may bring: an R100 has 250 MB."""


@dataclass(frozen=True)
class FaceDecision:
    """What belongs to the vectors of one kind of network, in its measure of likeness.

    `alike` is asked of each enrolled sample against the others, `together` of any two frames of one capture; `least` is
    the lowest threshold that a site may set.
    """

    threshold: Threshold
    alike: float
    together: float
    least: float


FACE_DLIB: Final = FaceDecision(THRESHOLDS[Modality.FACE], ALIKE[Modality.FACE], together=0.45, least=0.50)
"""1 - Euclidean distance."""
FACE_ARCFACE: Final = FaceDecision(Threshold(accept=0.40, typical=0.85), alike=0.20, together=0.25, least=0.30)
"""Cosine."""

# Voice
VOICE_MODEL: Final = "campplus-192"
VOICE_MODEL_FILE: Final = "campplus_192_fp16w.onnx"
VOICE_MODEL_SHA256: Final = "2ba2ff6500bcefec11e4e489fa34e112c9c4ebad7599f7f35816f605db7f1fab"
VOICE_DIMENSIONS: Final = 192
VOICE_CODE: Final = "campplus-192"
VOICE_SCALE: Final = 32767.0
VOICE_RATE: Final = 16_000
VOICE_RATE_RANGE: Final = (8_000, 192_000)
VOICE_CENTRE_FILE: Final = "voice_centre.npy"
VOICE_CENTRE_SHA256: Final = "f8fd726187f9d6de9633e96f2ab2de967ac9c87156f2823a7708141dd867fdf7"
VOICE_CENTRE_SHARE: Final = 0.5
"""Share of the mean embedding of all people that is taken off; more of it blurs persons on a telephone band."""
VOICE_CENTRE_PRIOR: Final = 20
"""How many people the present centre counts as when a site's own are learnt."""
VOICE_TELEPHONE_LENGTH: Final = 0.95
"""Length of an embedding of the telephone band: strangers in it score 0.50 to 0.53 where others score 0.37 to 0.46."""
VOICE_DITHER_DB: Final = 40.0
"""White noise this far below the speech goes into telephone-band recordings: the network knows no empty band."""
VOICE_SECONDS_MAXIMUM: Final = 15.0
"""Speech beyond this is not looked at: it bounds time and memory."""
VOICE_SPEECH_SECONDS: Final = {Purpose.ENROL: Limit(0.8, 4.0, 2.0), Purpose.VERIFY: Limit(0.6, 3.0, 1.2)}
VOICE_SNR_DB: Final = {Purpose.ENROL: Limit(5.0, 30.0, 10.0), Purpose.VERIFY: Limit(0.0, 20.0, 5.0)}
"""Speech over stationary noise between 100 Hz and 7.6 kHz."""
VOICE_CLIPPED: Final = Limit(poor=0.01, good=0.0, refuse=0.001)
VOICE_QUIET_DBFS: Final = Limit(poor=-50.0, good=-26.0, refuse=-40.0)
"""Level of the loudest twentieth of the speech frames."""

# Spoken digits (docs/biometrics/digits.md)
DIGITS_MODEL: Final = "digits-tdnn"
DIGITS_MODEL_FILE: Final = "digits_tdnn.f16"
DIGITS_MODEL_SHA256: Final = "96a71373f20258a401fad06cc18f2a25a0b708c954ab92ce23bfa9cc5a77bd4f"
DIGITS_FRAME_CAP: Final = 20.0
"""The most by which one frame of 20 ms can speak against a state, in nepers."""
DIGITS_SOUND_COST: Final = 1.0
"""What a frame of other sound between two digits costs, in nepers."""
DIGITS_NAME_CAP: Final = 6.0
"""The most by which one digit can speak against a string by the network alone, in nepers."""
DIGITS_OWN_CAP: Final = 12.0
"""As `DIGITS_NAME_CAP`, with the person's own takes."""
DIGITS_OWN_WEIGHT: Final = 12.0
"""Log probability of a digit by the person's own takes a unit of cosine."""
DIGITS_GAIN_CAP: Final = 200.0
DIGITS_GAIN_SHARE: Final = 8.0
"""The alignment's log likelihood ratio counts by this part, and as no worse than minus the cap."""
DIGITS_HEARD: Final = Leeway(6.0, 2.5)
"""At the sensor, whoever speaks: refuses what is clearly something else."""
DIGITS_STRANGER: Final = Leeway(4.0, 1.5)
"""At the match, where the template holds no takes of all ten digits."""
DIGITS_OWN: Final = Leeway(7.0, 2.0)
"""At the match, with the person's own takes."""

# Face liveness
LIVENESS_BASELINE_FRAMES: Final = 6
"""Frames of a quiet face before the first prompt; the person's own open eyes and straight head are learnt from them."""
LIVENESS_BASELINE_SECONDS: Final = 0.5
"""The least time that they take, whatever the rate of the camera."""
LIVENESS_TURN: Final = 0.06
"""Change of the nose's offset that is a turn of the head, 15 to 20 degrees; natural sway stays below 0.05."""
LIVENESS_DEPTH: Final = 0.15
"""A turn moves the nose by at least this for its sine; 0.37 for a head, below 0.12 for a picture that is slanted."""
LIVENESS_TILT: Final = 11.0
"""Degrees of tilt towards a shoulder."""
LIVENESS_NEUTRAL: Final = 0.75
"""Share of a gesture below which the head is straight again."""
LIVENESS_CLOSED: Final = 0.84
"""Likeness to the own open eyes below which they are closed: 0.41 to 0.72 closed, 0.93 and more open."""
LIVENESS_CLOSED_SECONDS: Final = 0.25
"""How long the eyes stay closed for it to be an answer; a natural blink is shorter."""
LIVENESS_REACTION_SECONDS: Final = 0.15
"""A movement that begins earlier after its prompt was no reaction to it."""
LIVENESS_RETURN_SECONDS: Final = 4.0
"""How long the way back to a straight head may take."""
LIVENESS_ABSENCE_SECONDS: Final = 0.9
"""How long the face may be lost from sight."""
LIVENESS_GAP_SECONDS: Final = 0.7
"""Longest time between two frames, but for the one in which a prompt is given."""
LIVENESS_PROMPT_SECONDS: Final = 8.0
"""Longest time that a prompt may keep the frames waiting."""
LIVENESS_LOST: Final = 6
"""Pictures that the camera may lose in all."""
LIVENESS_SLOW: Final = 6
"""Pauses between two frames in which one face could take another's place unseen, outside of prompts."""
LIVENESS_SPEED: Final = 6.0
"""Eye distances per second beyond which a face did not move but was replaced."""
LIVENESS_STEADY: Final = 0.3
"""Least likeness of a face to itself in the frame before."""
LIVENESS_STRAIGHT_DISTANCE: Final = 0.42
"""Largest distance between the descriptors of two straight frames."""
LIVENESS_GESTURE_DISTANCE: Final = 0.5
"""Largest distance of a frame within a gesture from the mean of the straight ones: up to 0.43, strangers from 0.53."""

# Flashes of a screen (docs/biometrics/liveness.md)
FLASH_SECONDS: Final = 0.6
"""The least time that a colour stays: 1.7 changes a second, where WCAG 2.3.1 allows three flashes, two changes each."""
FLASH_SETTLE_SECONDS: Final = 0.3
"""After a colour was sent to the screen, until the panel shows it and frames that waited are over."""
FLASH_FRAMES: Final = 3
"""Frames of a straight face under each colour."""
FLASH_STEP_SECONDS: Final = 3.0
"""How long such frames may take to come."""
FLASH_USABLE: Final = 0.3
"""Share of the face that must not be burnt out under any colour for the rest to be left out of the comparison."""
FLASH_STRENGTH: Final = 0.015
"""Mean change of the face's colour in nepers below which the screen is too dim to tell anything by."""
FLASH_AGREEMENT: Final = 0.925
"""How well the changes are explained by the colours shown, at most 1."""
FLASH_RELIEF: Final = 0.25
"""Share of the light that follows the face's own structure: 1 on skin and paper, 0 on what gives its own light."""

# Infrared cameras (docs/biometrics/liveness.md)
INFRARED_LIGHT: Final = 12.0
"""Grey levels that the emitter must add to a face."""
INFRARED_BESIDE: Final = 0.6
"""Largest share of that light on what is beside the head: a wall a metre behind gets a ninth of it."""
INFRARED_ROLL: Final = 10.0
"""Degrees by which the two cameras may differ on a tilt."""
INFRARED_YAW: Final = 0.1
"""By how much they may differ on how far the nose moved, in eye distances; a turn is 0.15 and more."""
INFRARED_SHIFT: Final = 0.6
"""By how many eye distances they may differ on how far a head moved: they see it from two places."""
INFRARED_SIZE: Final = 1.4
"""By what factor they may differ on how much nearer it came."""
