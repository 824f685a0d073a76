"""What stands before the camera in an attack on the face: photographs, recordings, and buffers that are fed in.

An attacker hears every prompt when the person would, knows none before, and has one photograph or one recorded genuine
answer to another challenge. Seeds and species were fixed before the detection was tuned; a change needs a new name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from simulators.attacks._photograph import HeldPhotograph
from simulators.personas import Asked, Light
from simulators.personas._face import AnimatedFace
from simulators.personas._fields import rng_of
from simulators.personas._light import BACKGROUND_REACH

Picture = NDArray[np.uint8]

RECORDED_FIRST_S = (1.4, 2.2)
"""When the first prompt came in a recorded answer."""

RECORDED_EVERY_S = (2.3, 3.2)
"""Between two prompts of a recorded answer: a gesture, the way back, and a pause."""

GLASS = (0.005, 0.04)
"""Share of light that a screen mirrors: from good coatings to bare glass."""

MIRRORING = 6.3
"""How bright a white screen is against white paper that it lights from half a metre, over pi: its mirror image."""

HAZE = 0.015
"""Share of the light on a screen that it scatters."""

_FROZEN_AFTER_S = 2.5
_INJECTED_NOISE = 2.0
_JPEG_QUALITY = 70


Play = Callable[[float, Sequence[Asked], "Light | None"], "Picture | None"]


class FaceScene(Protocol):
    """Somebody or something before the camera."""

    def picture(self, seconds: float, asked: Sequence[Asked], light: Light | None = None) -> Picture | None:
        """What arrives at `seconds`, after these prompts: uint8 `[480, 640, 3]` BGR; `None` for no picture.

        With `light`, a screen adds to that of the room.
        """
        ...


@dataclass(frozen=True)
class LiveFace:
    """The person themself, presentation number `take`: no attack."""

    face: AnimatedFace
    take: int

    def picture(self, seconds: float, asked: Sequence[Asked], light: Light | None = None) -> Picture | None:
        """Every picture, with the gestures that were asked for."""
        return self.face.perform(seconds, asked, self.take, light=light)


@dataclass(frozen=True)
class Recording:
    """A genuine answer to the row `gestures`, take number `take`, as recorded: the same pictures each time.

    `prompts` are what was asked then, and when; without them the take draws the times. `light` is that of then.
    """

    face: AnimatedFace
    gestures: tuple[str, ...]
    take: int
    prompts: tuple[Asked, ...] = ()
    light: Light | None = None

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What was asked then, and when."""
        if self.prompts:
            return self.prompts
        rng = rng_of(self.take, 21)
        at, prompts = float(rng.uniform(*RECORDED_FIRST_S)), []
        for gesture in self.gestures:
            prompts.append(Asked(gesture, at))
            at += float(rng.uniform(*RECORDED_EVERY_S))
        return tuple(prompts)

    @property
    def seconds(self) -> float:
        """Its length."""
        lit = self.light.shown[-1].at if self.light is not None and self.light.shown else 0.0
        return max(self.asked[-1].at if self.asked else 0.0, lit) + RECORDED_EVERY_S[1]

    def at(self, seconds: float) -> Picture:
        """The picture recorded at `seconds`."""
        return self.face.perform(seconds, self.asked, self.take, light=self.light)


@dataclass(frozen=True)
class _Attack:
    """A scene that is a function."""

    play: Play

    def picture(self, seconds: float, asked: Sequence[Asked], light: Light | None = None) -> Picture | None:
        """What the function gives."""
        return self.play(seconds, asked, light)


@dataclass(frozen=True)
class FaceAttack:
    """The means of one attack: whose face, somebody else's, another challenge's row of gestures, and the seed.

    `prompts` are those of that challenge, where it is known when they came: the recording is of an answer to them.
    `lit` is the light of then, with the colours that its screen showed at the times of the recording.
    """

    victim: AnimatedFace
    attacker: AnimatedFace
    recorded: tuple[str, ...]
    seed: int
    prompts: tuple[Asked, ...] = ()
    lit: Light | None = None

    @property
    def recording(self) -> Recording:
        """The victim's recorded answer."""
        return Recording(self.victim, self.recorded, self.seed, self.prompts, self.lit)


def face_attack(species: str, means: FaceAttack) -> FaceScene:
    """The scene of one of `LIT_SPECIES`."""
    return _Attack(LIT_SPECIES[species](means))


def _still_photo(means: FaceAttack) -> Play:
    """A photograph on a stand; only the sensor's noise moves."""
    photograph = HeldPhotograph(means.victim, means.seed, still=True)
    return lambda seconds, _, light: _on_paper(photograph.at(seconds), light, seconds)


def _moved_photo(means: FaceAttack) -> Play:
    """A photograph in the hand, shifted, rotated, slanted and bent towards whatever is asked for."""
    photograph = HeldPhotograph(means.victim, means.seed)
    return lambda seconds, asked, light: _on_paper(photograph.at(seconds, asked), light, seconds)


def _looped_video(means: FaceAttack) -> Play:
    """A recorded answer shown again and again on a screen."""
    recording = means.recording

    def play(seconds: float, _: Sequence[Asked], light: Light | None) -> Picture:
        position = _of_first_colour(recording, seconds, light, seconds % recording.seconds)
        return _shown(recording.at(position), means.seed, seconds, light)

    return play


def _recorded_answer(means: FaceAttack) -> Play:
    """A recorded answer to another challenge, started with the first prompt."""
    recording = means.recording

    def play(seconds: float, asked: Sequence[Asked], light: Light | None) -> Picture:
        position = _of_first_colour(recording, seconds, light, _position(recording, seconds, asked))
        return _shown(recording.at(position), means.seed, seconds, light)

    return play


def _swapped_person(means: FaceAttack) -> Play:
    """The victim looks into the camera; the attacker steps in at some prompt and does what is left."""
    turn = int(rng_of(means.seed, 22).integers(1, 4))

    def play(seconds: float, asked: Sequence[Asked], light: Light | None) -> Picture:
        face = means.attacker if len(asked) >= turn else means.victim
        return face.perform(seconds, asked, means.seed, light=light)

    return play


def _frozen_frames(means: FaceAttack) -> Play:
    """The victim in person, then the same buffer over and over under new numbers."""
    after = _FROZEN_AFTER_S + float(rng_of(means.seed, 23).uniform(0.0, 4.0))
    return lambda seconds, asked, light: means.victim.perform(
        min(seconds, after), [prompt for prompt in asked if prompt.at <= after], means.seed, light=light
    )


def _dropped_frames(means: FaceAttack) -> Play:
    """A recorded answer from which every gesture that was not asked for is cut out, and the gap left open."""
    recording = means.recording

    def play(seconds: float, asked: Sequence[Asked], light: Light | None) -> Picture | None:
        position = _of_first_colour(recording, seconds, light, _position(recording, seconds, asked))
        shown = [prompt.gesture for prompt in recording.asked if prompt.at <= position]
        unwanted = bool(asked) and bool(shown) and shown[-1] != asked[-1].gesture
        return None if unwanted else _shown(recording.at(position), means.seed, seconds, light)

    return play


def _injected_buffer(means: FaceAttack) -> Play:
    """The exact pictures of an earlier answer fed in behind the camera, from their beginning."""
    recording = means.recording
    return lambda seconds, _, light: recording.at(
        _of_first_colour(recording, seconds, light, min(seconds, recording.seconds))
    )


def _injected_with_noise(means: FaceAttack) -> Play:
    """The same with fresh noise, so that no picture is byte for byte one of before."""
    recording = means.recording

    def play(seconds: float, _: Sequence[Asked], light: Light | None) -> Picture:
        noise = rng_of(means.seed, round(seconds * 1000), 24).normal(0.0, _INJECTED_NOISE, (480, 640, 1))
        position = _of_first_colour(recording, seconds, light, min(seconds, recording.seconds))
        noisy = recording.at(position).astype(np.float32) + noise.astype(np.float32)
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)

    return play


def _displayed_video(means: FaceAttack) -> Play:
    """A live picture of the victim on a screen, who does all that is asked for; no colour of the node reaches them.

    What a puppet, a video call or a deepfake looks like to a camera. The screen mirrors a little of the node's.
    """

    def play(seconds: float, asked: Sequence[Asked], light: Light | None) -> Picture:
        return _shown(means.victim.perform(seconds, asked, means.seed), means.seed, seconds, light)

    return play


def _of_first_colour(recording: Recording, seconds: float, light: Light | None, otherwise: float) -> float:
    """Where a recording stands once the node's screen has its first colour: at that of then."""
    if light is None or not light.shown or recording.light is None or not recording.light.shown:
        return otherwise
    return min(recording.light.shown[0].at + seconds - light.shown[0].at, recording.seconds)


def _position(recording: Recording, seconds: float, asked: Sequence[Asked]) -> float:
    """Where a recording stands: to and fro before its first prompt until the first prompt of now, then from there."""
    quiet = recording.asked[0].at if recording.asked else RECORDED_FIRST_S[0]
    if not asked:
        return quiet - abs(seconds % (2 * quiet) - quiet)
    return min(quiet + max(0.0, seconds - asked[0].at), recording.seconds)


def _on_paper(picture: Picture, light: Light | None, seconds: float) -> Picture:
    """A print that fills the frame, and faces the screen flatly."""
    return picture if light is None else light.on(picture, 1.0, seconds)


def _mirrored(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of another screen: how squarely what is not of it faces the node's, and how much of that its glass throws back.

    It fills the frame and mirrors with all of it or up to a soft edge, or it is just larger than a head.
    """
    rng = rng_of(seed, 26)
    share, kind = MIRRORING * float(rng.uniform(*GLASS)), int(rng.integers(3))
    across, down = (np.abs(np.arange(size, dtype=np.float32) - size / 2) for size in (640, 480))
    within = (across < 190) & (down[:, np.newaxis] < 235) if kind == 2 else np.ones((480, 640), bool)
    edge = float(rng.uniform(-160, 160)) if kind == 1 else -1e4
    ramp = 1.0 / (1.0 + np.exp(np.clip((edge - np.arange(640, dtype=np.float32) + 320) / 25.0, -30, 30)))
    veil = np.where(within, HAZE + share * ramp, 0.0)
    return np.where(within, 0.0, BACKGROUND_REACH).astype(np.float32), veil.astype(np.float32)


def _shown(picture: Picture, seed: int, seconds: float, light: Light | None = None) -> Picture:
    """What a camera sees of a picture on a screen: compressed, a little softer and paler, with noise of its own.

    Such a screen gives its own light, and of another's mirrors some over the whole of the picture, dark parts as bright
    ones.
    """
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    soft = np.asarray(cv2.GaussianBlur(cv2.imdecode(coded, cv2.IMREAD_COLOR), (0, 0), 0.7), np.uint8)
    if light is not None:
        reach, veil = _mirrored(seed)
        soft = light.on(soft, reach, seconds, veil)
    noise = rng_of(seed, round(seconds * 1000), 25).integers(-4, 5, (480, 640, 1), np.int16)
    return np.asarray(np.clip(0.92 * soft + 10.0 + noise, 0, 255), np.uint8)


FACE_SPECIES: Mapping[str, Callable[[FaceAttack], Play]] = {
    "still-photo": _still_photo,
    "moved-photo": _moved_photo,
    "looped-video": _looped_video,
    "recorded-answer": _recorded_answer,
    "swapped-person": _swapped_person,
    "frozen-frames": _frozen_frames,
    "dropped-frames": _dropped_frames,
    "injected-buffer": _injected_buffer,
    "injected-with-noise": _injected_with_noise,
}
"""How to make each species."""

LIT_SPECIES: Mapping[str, Callable[[FaceAttack], Play]] = {**FACE_SPECIES, "displayed-video": _displayed_video}
"""Those, and one that answers every gesture: only a screen's light tells it from a person."""

REPLAYED = frozenset({"looped-video", "recorded-answer", "dropped-frames", "injected-buffer", "injected-with-noise"})
"""Species that show a recorded answer; its row of gestures may happen to be the one that is drawn."""
