"""Personas of real samples: `<data>/<modality>/<set>/<subject>/<sample>`.

A fingerprint subject, a face subject and a voice subject that have nothing to do with one another make one (chimeric)
person. Impression, take and picture number n is sample n modulo the number of samples, in natural order of file names:
enrol with some numbers, probe with others, and no sample meets itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from simulators.personas._eyes import eyes_of
from simulators.personas._face import FRAME_SIZE, AnimatedFace
from simulators.personas._fields import rng_of
from simulators.personas._gestures import Asked
from simulators.personas._persona import Persona, PersonaError
from simulators.personas._portrait import Portrait
from simulators.personas._voice import RATE, checked_digits, recorded

PREFERRED_SETS = {"fingerprint": "FVC2002_DB1_B", "face": "caltech_faces_easy", "voice": "librispeech"}
SUFFIXES = {
    "fingerprint": (".png", ".bmp"),
    "face": (".jpg", ".jpeg", ".png", ".pgm"),
    "voice": (".flac", ".wav"),
}
PICTURE_SECONDS = 2.0
"""How long one photograph stays before the camera; then the next takes its place."""

PICTURE_HEIGHT = 360
EYES_ABOVE_CENTRE = 0.4
HEAD_RADII = (1.38, 1.9)
"""Of a head, in eye distances: how far the eyes lie above its middle, half its width and half its height."""

DEFAULT_DPI = 500
METRES_PER_INCH = 0.0254
DIGIT_SAMPLE = re.compile(r"^(\d)_\d+$")
PAUSE_SECONDS = 0.18
STRETCH_PIXELS = 3.0
SPEED_STEP = 0.03


def folder_personas(data: Path, count: int = 3, sets: Mapping[str, str | None] | None = None) -> tuple[Persona, ...]:
    """`count` persons out of the samples under `data`, named "folder-a", "folder-b", …

    `sets` names a set per modality ("fingerprint", "face", "voice"); None or no entry takes the preferred set, or the
    first there is. Raises `PersonaError` naming the folder that is missing, empty or too small.
    """
    chosen = sets or {}
    subjects = {modality: _subjects(data, modality, chosen.get(modality), count) for modality in PREFERRED_SETS}
    return tuple(
        FolderPersona(
            f"folder-{chr(ord('a') + n)}", subjects["fingerprint"][n], subjects["face"][n], subjects["voice"][n], n
        )
        for n in range(count)
    )


@dataclass(frozen=True)
class FolderPersona:
    """A person made of files, each tuple in natural order; `seed` (non-negative) moves the pictures."""

    name: str
    fingerprints: tuple[Path, ...] = field(repr=False)
    pictures: tuple[Path, ...] = field(repr=False)
    recordings: tuple[Path, ...] = field(repr=False)
    seed: int = 0

    def finger(self, impression: int, care: float = 1.0, which: int = 0) -> tuple[NDArray[np.uint8], int]:
        """See `Persona.finger`: sample `impression`, as found but for `care` below 1.

        When the samples are used up they come again, each time pressed a little differently. The files are of one
        finger: the other one is its mirror image.
        """
        again, number = divmod(impression, len(self.fingerprints))
        path = self.fingerprints[number]
        pixels = _grey(path)
        if again:
            pixels = _pressed_anew(pixels, rng_of(self.seed, impression, 8))
        if care < 1.0:
            pixels = _worn(pixels, 1.0 - max(care, 0.0), rng_of(self.seed, impression, 6))
        return np.ascontiguousarray(pixels[:, ::-1]) if which else pixels, _png_dpi(path)

    def frame(self, seconds: float, care: float = 1.0) -> NDArray[np.uint8]:
        """See `Persona.frame`: photograph floor(`seconds` / 2) modulo their number, gently moved."""
        return self._face(int(seconds // PICTURE_SECONDS)).frame(seconds, care)

    def perform(self, seconds: float, asked: Sequence[Asked], take: int, care: float = 1.0) -> NDArray[np.uint8]:
        """See `Persona.perform`: photograph `take` modulo their number, animated; one without eyes cannot blink."""
        return self._face(take).perform(seconds, asked, take, care)

    def say(self, digits: str, take: int, care: float = 1.0) -> tuple[NDArray[np.int16], int]:
        """See `Persona.say`.

        Isolated digits (files `<digit>_<take>`) are strung together to `digits`. Any other recording cannot speak
        what it is asked: utterance `take` is returned whatever the digits are. When they are used up they come again,
        each time spoken at another speed.
        """
        numbers = checked_digits(digits)
        rng = rng_of(self.seed, take, 7)
        return recorded(self._spoken(numbers, take), care, rng), RATE

    def _face(self, number: int) -> AnimatedFace:
        """The animated photograph `number` modulo their number; made on first use and kept."""
        index = number % len(self.pictures)
        if index not in self._faces:
            self._faces[index] = AnimatedFace(portrait_of(self.pictures[index]), self.seed)
        return self._faces[index]

    @cached_property
    def _faces(self) -> dict[int, AnimatedFace]:
        return {}

    def _spoken(self, numbers: list[int], take: int) -> NDArray[np.float64]:
        spoken_by = _by_digit(self.recordings)
        if any(not spoken_by.get(number) for number in numbers):
            again, number = divmod(take, len(self.recordings))
            return _at_speed(_sound(self.recordings[number]), 1.0 + (-1) ** again * SPEED_STEP * ((again + 1) // 2))
        pause = np.zeros(int(PAUSE_SECONDS * RATE))
        pieces = []
        for position, number in enumerate(numbers):
            pieces += [_sound(spoken_by[number][(take + position) % len(spoken_by[number])]), pause]
        return np.concatenate(pieces)


def _subjects(data: Path, modality: str, wanted: str | None, count: int) -> list[tuple[Path, ...]]:
    """The samples of the first `count` subjects of a set, subjects in natural order."""
    folder = _set_folder(data / modality, wanted or PREFERRED_SETS[modality], exact=wanted is not None)
    found = [_samples(subject, SUFFIXES[modality]) for subject in _folders(folder)]
    filled = [samples for samples in found if samples]
    if len(filled) < count:
        raise PersonaError(
            f"{folder} holds samples of {len(filled)} subjects, {count} are needed",
            remedy=f"Put one folder per subject there ({', '.join(SUFFIXES[modality])}), or ask for fewer personas.",
        )
    return filled[:count]


def _set_folder(modality: Path, name: str, *, exact: bool) -> Path:
    if (modality / name).is_dir():
        return modality / name
    others = [] if exact else _folders(modality)
    if not others:
        raise PersonaError(
            f"there is no folder {modality / name}",
            remedy="Name the data folder that holds <modality>/<set>/<subject>/<sample>, and a set that is in it.",
        )
    return others[0]


def _folders(parent: Path) -> list[Path]:
    return sorted((p for p in parent.iterdir() if p.is_dir()), key=_natural) if parent.is_dir() else []


def _samples(subject: Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(sorted((p for p in subject.iterdir() if p.suffix.lower() in suffixes), key=_natural))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts "2" before "10"."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def _unreadable(path: Path) -> PersonaError:
    return PersonaError(f"{path} is not a sample that can be read", remedy="Replace or remove the file.")


def _read_image(path: Path, flags: int) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    if image is None:
        raise _unreadable(path)
    return np.asarray(image, np.uint8)


def _grey(path: Path) -> NDArray[np.uint8]:
    return _read_image(path, cv2.IMREAD_GRAYSCALE)


def _png_dpi(path: Path) -> int:
    """Resolution from the pHYs chunk (PNG, third edition, 11.3.4.3); 500 where there is none."""
    content = path.read_bytes()
    at = content.find(b"pHYs")
    if at < 0 or len(content) < at + 13 or content[at + 12] != 1:
        return DEFAULT_DPI
    return round(int.from_bytes(content[at + 4 : at + 8], "big") * METRES_PER_INCH)


def _worn(pixels: NDArray[np.uint8], sloppy: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A real impression made worse: fainter, blurred, noisier."""
    blurred = cv2.GaussianBlur(pixels, (0, 0), 0.3 + 1.5 * sloppy).astype(np.float32)
    paper = float(np.percentile(pixels, 95))
    faint = paper + (blurred - paper) * (1.0 - 0.6 * sloppy)
    return np.asarray(np.clip(faint + 22.0 * sloppy * rng.standard_normal(pixels.shape), 0, 255), np.uint8)


def _pressed_anew(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """An impression as if the skin had been stretched otherwise, by some pixels from place to place."""
    height, width = pixels.shape
    knots = rng.normal(0.0, STRETCH_PIXELS, (2, 2 + height // 70, 2 + width // 70)).astype(np.float32)
    off_x, off_y = (cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in knots)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    bent = cv2.remap(pixels, x + off_x, y + off_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(bent, np.uint8)


def _at_speed(sound: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
    if speed == 1.0:
        return sound
    at = np.arange(0.0, len(sound) - 1, speed)
    return np.asarray(np.interp(at, np.arange(len(sound)), sound), np.float64)


def portrait_of(path: Path) -> Portrait:
    """A photograph brought to the size a face has at a desk camera, with room around it to move."""
    photo = _read_image(path, cv2.IMREAD_COLOR)
    scale = PICTURE_HEIGHT / photo.shape[0]
    sized = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    height, width = sized.shape[:2]
    side, top = max(0, FRAME_SIZE[0] - width) // 2 + 20, (FRAME_SIZE[1] - height) // 2 + 20
    backdrop = [int(v) for v in np.median(sized.reshape(-1, 3), axis=0)]
    canvas = cv2.copyMakeBorder(sized, top, top, side, side, cv2.BORDER_CONSTANT, value=backdrop)
    eyes = eyes_of(canvas)
    if not eyes:
        return Portrait(canvas, (side + width / 2, top + height / 2), (0.28 * PICTURE_HEIGHT, 0.38 * PICTURE_HEIGHT))
    (left_x, left_y), (right_x, right_y) = eyes
    unit = float(np.hypot(right_x - left_x, right_y - left_y))
    centre = ((left_x + right_x) / 2, (left_y + right_y) / 2 + EYES_ABOVE_CENTRE * unit)
    return Portrait(canvas, centre, (HEAD_RADII[0] * unit, HEAD_RADII[1] * unit), eyes)


def _by_digit(recordings: tuple[Path, ...]) -> dict[int, list[Path]]:
    spoken_by: dict[int, list[Path]] = {}
    for path in recordings:
        if match := DIGIT_SAMPLE.match(path.stem):
            spoken_by.setdefault(int(match[1]), []).append(path)
    return spoken_by


def _sound(path: Path) -> NDArray[np.float64]:
    """Mono at 16 kHz, -1 to 1."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise _unreadable(path) from error
    common = int(np.gcd(rate, RATE))
    return np.asarray(resample_poly(samples.mean(axis=1), RATE // common, rate // common), np.float64)
