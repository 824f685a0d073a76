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
from simulators.personas import Asked
from simulators.personas._face import AnimatedFace
from simulators.personas._fields import rng_of

Picture = NDArray[np.uint8]

RECORDED_FIRST_S = (1.4, 2.2)
"""When the first prompt came in a recorded answer."""

RECORDED_EVERY_S = (2.3, 3.2)
"""Between two prompts of a recorded answer: a gesture, the way back, and a pause."""

_FROZEN_AFTER_S = 2.5
_INJECTED_NOISE = 2.0
_JPEG_QUALITY = 70


class FaceScene(Protocol):
    """Somebody or something before the camera."""

    def picture(self, seconds: float, asked: Sequence[Asked]) -> Picture | None:
        """What arrives at `seconds`, after these prompts: uint8 `[480, 640, 3]` BGR; `None` for no picture."""
        ...


@dataclass(frozen=True)
class LiveFace:
    """The person themself, presentation number `take`: no attack."""

    face: AnimatedFace
    take: int

    def picture(self, seconds: float, asked: Sequence[Asked]) -> Picture | None:
        """Every picture, with the gestures that were asked for."""
        return self.face.perform(seconds, asked, self.take)


@dataclass(frozen=True)
class Recording:
    """A genuine answer to the row `gestures`, take number `take`, as recorded: the same pictures each time.

    `prompts` are what was asked then, and when; without them the take draws the times.
    """

    face: AnimatedFace
    gestures: tuple[str, ...]
    take: int
    prompts: tuple[Asked, ...] = ()

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
        return self.asked[-1].at + RECORDED_EVERY_S[1]

    def at(self, seconds: float) -> Picture:
        """The picture recorded at `seconds`."""
        return self.face.perform(seconds, self.asked, self.take)


@dataclass(frozen=True)
class _Attack:
    """A scene that is a function."""

    play: Callable[[float, Sequence[Asked]], Picture | None]

    def picture(self, seconds: float, asked: Sequence[Asked]) -> Picture | None:
        """What the function gives."""
        return self.play(seconds, asked)


@dataclass(frozen=True)
class FaceAttack:
    """The means of one attack: whose face, somebody else's, another challenge's row of gestures, and the seed.

    `prompts` are those of that challenge, where it is known when they came: the recording is of an answer to them.
    """

    victim: AnimatedFace
    attacker: AnimatedFace
    recorded: tuple[str, ...]
    seed: int
    prompts: tuple[Asked, ...] = ()

    @property
    def recording(self) -> Recording:
        """The victim's recorded answer."""
        return Recording(self.victim, self.recorded, self.seed, self.prompts)


def face_attack(species: str, means: FaceAttack) -> FaceScene:
    """The scene of one of `FACE_SPECIES`."""
    return _Attack(FACE_SPECIES[species](means))


def _still_photo(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """A photograph on a stand; only the sensor's noise moves."""
    photograph = HeldPhotograph(means.victim, means.seed, still=True)
    return lambda seconds, _: photograph.at(seconds)


def _moved_photo(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """A photograph in the hand, shifted, rotated, slanted and bent towards whatever is asked for."""
    return HeldPhotograph(means.victim, means.seed).at


def _looped_video(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """A recorded answer shown again and again on a screen."""
    recording = means.recording
    return lambda seconds, _: _shown(recording.at(seconds % recording.seconds), means.seed, seconds)


def _recorded_answer(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """A recorded answer to another challenge, started with the first prompt."""
    recording = means.recording

    def play(seconds: float, asked: Sequence[Asked]) -> Picture:
        return _shown(recording.at(_position(recording, seconds, asked)), means.seed, seconds)

    return play


def _swapped_person(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """The victim looks into the camera; the attacker steps in at some prompt and does what is left."""
    turn = int(rng_of(means.seed, 22).integers(1, 4))

    def play(seconds: float, asked: Sequence[Asked]) -> Picture:
        face = means.attacker if len(asked) >= turn else means.victim
        return face.perform(seconds, asked, means.seed)

    return play


def _frozen_frames(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """The victim in person, then the same buffer over and over under new numbers."""
    after = _FROZEN_AFTER_S + float(rng_of(means.seed, 23).uniform(0.0, 4.0))
    return lambda seconds, asked: means.victim.perform(
        min(seconds, after), [prompt for prompt in asked if prompt.at <= after], means.seed
    )


def _dropped_frames(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """A recorded answer from which every gesture that was not asked for is cut out, and the gap left open."""
    recording = means.recording

    def play(seconds: float, asked: Sequence[Asked]) -> Picture | None:
        position = _position(recording, seconds, asked)
        shown = [prompt.gesture for prompt in recording.asked if prompt.at <= position]
        unwanted = bool(asked) and bool(shown) and shown[-1] != asked[-1].gesture
        return None if unwanted else _shown(recording.at(position), means.seed, seconds)

    return play


def _injected_buffer(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """The exact pictures of an earlier answer fed in behind the camera, from their beginning."""
    recording = means.recording
    return lambda seconds, _: recording.at(min(seconds, recording.seconds))


def _injected_with_noise(means: FaceAttack) -> Callable[[float, Sequence[Asked]], Picture | None]:
    """The same with fresh noise, so that no picture is byte for byte one of before."""
    recording = means.recording

    def play(seconds: float, _: Sequence[Asked]) -> Picture:
        noise = rng_of(means.seed, round(seconds * 1000), 24).normal(0.0, _INJECTED_NOISE, (480, 640, 1))
        noisy = recording.at(min(seconds, recording.seconds)).astype(np.float32) + noise.astype(np.float32)
        return np.asarray(np.clip(noisy, 0, 255), np.uint8)

    return play


def _position(recording: Recording, seconds: float, asked: Sequence[Asked]) -> float:
    """Where a recording stands: to and fro before its first prompt until the first prompt of now, then from there."""
    quiet = recording.asked[0].at
    if not asked:
        return quiet - abs(seconds % (2 * quiet) - quiet)
    return min(quiet + max(0.0, seconds - asked[0].at), recording.seconds)


def _shown(picture: Picture, seed: int, seconds: float) -> Picture:
    """What a camera sees of a picture on a screen: compressed, a little softer and paler, with noise of its own."""
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    soft = cv2.GaussianBlur(cv2.imdecode(coded, cv2.IMREAD_COLOR), (0, 0), 0.7)
    noise = rng_of(seed, round(seconds * 1000), 25).integers(-4, 5, (480, 640, 1), np.int16)
    return np.asarray(np.clip(0.92 * soft + 10.0 + noise, 0, 255), np.uint8)


FACE_SPECIES: Mapping[str, Callable[[FaceAttack], Callable[[float, Sequence[Asked]], Picture | None]]] = {
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

REPLAYED = frozenset({"looped-video", "recorded-answer", "dropped-frames", "injected-buffer", "injected-with-noise"})
"""Species that show a recorded answer; its row of gestures may happen to be the one that is drawn."""
