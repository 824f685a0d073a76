"""People and sensors that need no hardware: what somebody shows is a text, and a template holds the texts to expect."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from agent.extension import Modality, SecondCamera
from agent.modalities.face import Face
from agent.modalities.fingerprint import Fingerprint
from agent.modalities.voice import Voice
from agent.pipelines import Examined, Match
from agent.prompting import Feedback, ResultNote, Step, SummonsCall
from hal import (
    AudioBlock,
    Camera,
    Capability,
    Deadline,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    Display,
    FingerprintImage,
    Frame,
    NotFound,
    TimedOut,
    Transport,
)
from protocol.messages import ModalityModel, SensorIdentity

KINDS = {"fingerprint": DeviceKind.FINGERPRINT, "face": DeviceKind.CAMERA, "voice": DeviceKind.MICROPHONE}


@dataclass
class Scene:
    """Who stands there: by modality, what each capture shows next (the last one for ever); an exception is raised.

    A device whose last line is that it went away stays away: it is in `gone` from then on, and cannot be opened.
    """

    shows: dict[str, list[str | Exception]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def take(self, modality: str) -> str:
        line = self.shows.get(modality, ["nothing"])
        found = line.pop(0) if len(line) > 1 else line[0]
        if isinstance(found, Disconnected) and line == [found]:
            self.gone.add(modality)
        if isinstance(found, Exception):
            raise found
        return found


@dataclass(frozen=True)
class Shown(FingerprintImage):
    """A capture that is a text."""

    text: str = ""


class _Device:
    def __init__(self, modality: str, scene: Scene) -> None:
        self.modality, self.scene = modality, scene
        self.info = DeviceInfo(
            KINDS[modality],
            f"fake-{modality}",
            Transport.VIRTUAL,
            "port-1",
            capabilities=frozenset({Capability.IMAGE}),
        )

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Reader(_Device):
    def capture(self, deadline: Deadline, on_ready: Callable[[], None] | None = None) -> FingerprintImage:
        if on_ready:
            on_ready()
        deadline.check("a capture")
        return Shown(np.zeros((2, 2), np.uint8), 500, 1, 1, self.scene.take(self.modality))

    def wait_removed(self, deadline: Deadline) -> None:
        deadline.check("lifting")


class _Camera(_Device):
    def read(self, deadline: Deadline) -> Frame:
        deadline.check("a frame")
        text = self.scene.take(self.modality).encode()
        return Frame(np.frombuffer(text, np.uint8).reshape(1, -1, 1), 1, 1)


class _Microphone(_Device):
    def blocks(self, deadline: Deadline) -> Iterator[AudioBlock]:
        text = self.scene.take(self.modality).encode()
        yield AudioBlock(np.frombuffer(text, np.uint8).astype(np.int16), 1, 1, 1)
        yield AudioBlock(np.zeros(100, np.int16), 1, 2, 1)


DEVICES: dict[str, type[_Device]] = {"fingerprint": _Reader, "face": _Camera, "voice": _Microphone}


def modalities(**options: Mapping[str, Any]) -> dict[str, Modality]:
    """The three that come with Keyvigil, with options by name; a text cannot blink, so that no face has to."""
    makers = {"fingerprint": Fingerprint, "face": Face, "voice": Voice}
    chosen = {"face": {"liveness": False}} | options
    return {name: make(chosen.get(name, {})) for name, make in makers.items()}


LAMP = SensorIdentity(kind="display", driver="fake-screen", driver_sha256="0" * 64, transport="virtual", port="port-1")


class FakeDevices:
    """Devices before one scene; `missing` ones are not attached. There is a screen if `lamp` is one, and an infrared
    camera if `second` is."""

    lamp: Display | None = None
    second: Camera | None = None

    def __init__(self, scene: Scene, modalities: Sequence[str] = ("fingerprint", "face", "voice")) -> None:
        self.scene = scene
        self.modalities = list(modalities)
        self.missing: set[str] = set()

    def open_sensor(self, name: str, deadline: Deadline) -> _Device:
        deadline.check("opening")
        if name in self.scene.gone:
            raise NotFound(f"the {name} device is not attached")
        return DEVICES[name](name, self.scene)

    def open_infrared(self, deadline: Deadline) -> SecondCamera | None:
        deadline.check("opening")
        return None if self.second is None else SecondCamera(self.second, strobe=True)

    def infrared_identity_of(self, camera: Camera) -> SensorIdentity:
        return second_sensor(camera.info.port)

    def display(self) -> SensorIdentity | None:
        return None if self.lamp is None else LAMP

    def open_display(self, deadline: Deadline) -> Display:
        deadline.check("opening")
        if self.lamp is None:
            raise NotFound("no screen is configured")
        return self.lamp

    def display_identity_of(self, display: Display) -> SensorIdentity:
        return LAMP

    def identify(self, name: str) -> SensorIdentity:
        if name in self.missing:
            raise NotFound(f"the {name} device is not attached")
        return sensor(name)

    def identity_of(self, name: str, device: Any) -> SensorIdentity:
        return sensor(name)


def second_sensor(port: str = "beside") -> SensorIdentity:
    """The infrared camera that stands at a port."""
    return SensorIdentity(kind="camera", driver="fake-second", driver_sha256="0" * 64, transport="virtual", port=port)


def sensor(name: str) -> SensorIdentity:
    return SensorIdentity(
        kind=KINDS[name].value, driver=f"fake-{name}", driver_sha256="0" * 64, transport="virtual", port="port-1"
    )


@dataclass(frozen=True)
class TextFeatures:
    text: str

    def to_bytes(self) -> bytes:
        return self.text.encode().ljust(8, b"\0")


class TextPipeline:
    """Accepts every text but those beginning with "bad"; matches one that the template holds."""

    def __init__(self, modality: str, version: str = "1") -> None:
        self.modality = modality
        self.model = ModalityModel(modality=modality, model=f"text-{modality}", parameters=version)

    def examine(self, captures: Sequence[Any], purpose: str) -> Examined:
        text = _text(captures[0])
        if text.startswith("bad"):
            return Examined(10, f"{text} is not clear")
        return Examined(80, "", TextFeatures(text))

    def enrol(self, samples: Sequence[Any]) -> bytes:
        return json.dumps([sample.text for sample in samples]).encode()

    def match(self, template: bytes, sample: Any) -> Match:
        return Match(sample.text in json.loads(template), 50)

    def warm_up(self) -> None:
        pass


class BindableText(TextPipeline):
    """One whose features are embeddings as well: a direction for each text, whatever follows its first letters."""

    @property
    def code(self) -> str:
        return {"face": "dlib-128", "voice": "campplus-192"}[self.modality]

    def embedding(self, samples: Sequence[Any]) -> NDArray[np.float32]:
        dimensions = {"face": 128, "voice": 192}[self.modality]
        mean = np.mean([_direction(sample.text, dimensions) for sample in samples], axis=0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)

    def side(self, samples: Sequence[Any]) -> bytes:
        return json.dumps([len(sample.text) for sample in samples]).encode()

    def consistent(self, side: bytes, sample: Any) -> bool:
        return not sample.text.endswith("mumbled")


def _direction(text: str, dimensions: int) -> NDArray[np.float64]:
    letters = text.rstrip("0123456789").split()[0][:4]
    seed = int.from_bytes(hashlib.sha256(letters.encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).normal(size=dimensions)
    direction: NDArray[np.float64] = drawn / np.linalg.norm(drawn)
    return direction


def pipelines(version: str = "1") -> dict[str, TextPipeline]:
    return {name: (BindableText if name in BOUND else TextPipeline)(name, version) for name in KINDS}


BOUND = ("face", "voice")


def _text(capture: Any) -> str:
    if isinstance(capture, Shown):
        return capture.text
    if isinstance(capture, Frame):
        return capture.bgr.tobytes().decode()
    return bytes(capture.pcm.astype(np.uint8)).rstrip(b"\0").decode()


@dataclass
class QuietPrompter:
    """Answers every summons with a name, and remembers what it was told."""

    admin: str | None = "alice"
    declines: set[str] = field(default_factory=set)
    calls: list[SummonsCall] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    feedbacks: list[Feedback] = field(default_factory=list)
    results: list[ResultNote] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def summon(self, call: SummonsCall) -> str | None:
        self.calls.append(call)
        return self.admin

    def instruct(self, step: Step) -> bool:
        self.steps.append(step)
        return step.step not in self.declines

    def feedback(self, feedback: Feedback) -> None:
        self.feedbacks.append(feedback)

    def result(self, note: ResultNote) -> None:
        self.results.append(note)
        self.ended.set()


GONE = Disconnected("the device went away")
LATE = TimedOut("nobody came")
