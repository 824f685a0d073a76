"""The face at a challenge: every gesture is asked for when it is due, and what was seen is judged as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from agent.biometrics import liveness
from agent.biometrics._dlib import DlibEngine
from agent.biometrics.liveness import LiveFrames, Passed, Prompt, Refused, Show, Step, Watch
from agent.biometrics.liveness.infrared import ENOUGH, MOST, UNSEEN, Witness, read_pair
from agent.biometrics.liveness.light import COLOURS, NEUTRAL
from agent.extension import SecondCamera, Sensor
from agent.modalities._own import BindablePipeline
from agent.pipelines import Examined, Purpose
from hal import Camera, Display
from protocol.flashes import Hue
from protocol.gestures import Gesture

Observer = Callable[[Watch, Step], str]
"""The sentence that somebody else who looks on has against a step; empty if none."""

SENTENCES: Mapping[Gesture, str] = {
    Gesture.BLINK: "Close both eyes for a second, then open them.",
    Gesture.TURN_LEFT: "Turn your head to the left, then look into the camera again.",
    Gesture.TURN_RIGHT: "Turn your head to the right, then look into the camera again.",
    Gesture.TILT_LEFT: "Lean your head towards your left shoulder, then hold it upright again.",
    Gesture.TILT_RIGHT: "Lean your head towards your right shoulder, then hold it upright again.",
}
KEEP_LOOKING = "Keep looking straight into the camera while the screen shows some colours."

_NOT_DRAWN = "The authority asked for no gestures that this node knows. Bring authority and node to one version."
_COLOURS_NOT_DRAWN = "The authority asked for colours that this node does not know. Bring both to one version."
_WENT_AWAY = "The camera went away in the middle of the gestures. Reconnect it, then begin again."
_NOBODY_SEEN = "Nobody was seen to answer the gestures."


def known(gestures: Sequence[str]) -> tuple[Gesture, ...]:
    """The gestures drawn; none when one of them is unknown, because a row is done as a whole or not at all."""
    words = {gesture.value for gesture in Gesture}
    return tuple(Gesture(word) for word in gestures) if words.issuperset(gestures) else ()


def known_hues(hues: Sequence[str]) -> tuple[Hue, ...] | None:
    """The hues drawn, of which there may be none; `None` when one of them is unknown."""
    words = {hue.value for hue in Hue}
    return tuple(Hue(word) for word in hues) if words.issuperset(hues) else None


@dataclass(frozen=True)
class Questioner:
    """Asks one person for gestures; `step_s` is how long each may take, `beginning_s` until a face is there."""

    engine: DlibEngine
    step_s: float
    beginning_s: float

    def question(self, sensor: Sensor) -> LiveFrames:
        """Frames with a verdict. Raises `PersonAbsent` and the errors of devices."""
        gestures, hues = known(sensor.gestures), known_hues(sensor.flashes)
        if not gestures or hues is None:
            return LiveFrames.of((), _COLOURS_NOT_DRAWN if gestures else _NOT_DRAWN)
        watches: list[Watch] = []

        def work(camera: Camera) -> LiveFrames:
            if any(watch.begun for watch in watches):
                return LiveFrames.of((), _WENT_AWAY)
            watches.append(Watch(self.engine, gestures, self.step_s, self.beginning_s, hues))
            with ExitStack() as held:
                second = held.enter_context(sensor.infrared())
                return looked_on(watches[-1], camera, sensor, held, self._observer(second, sensor))

        sensor.tell("look", "Look straight into the camera and wait for what it asks.")
        return sensor.use(work)

    def _observer(self, second: SecondCamera | None, sensor: Sensor) -> Observer:
        """What the infrared camera says of each step, where there is one."""
        if second is None:
            return lambda _watch, _step: ""
        witness, camera = Witness(self.engine, strobe=second.strobe), second.camera

        def observe(watch: Watch, step: Step) -> str:
            due = isinstance(step, Prompt | Passed) or (isinstance(step, Show) and step.hue is None)
            if not (due or watch.answered):
                return ""
            if watch.head is None:
                return UNSEEN
            most = MOST if due else ENOUGH
            pair = read_pair(lambda: camera.read(sensor.deadline), strobe=second.strobe, most=most)
            against = witness.straight(watch.head, pair) if due else witness.moving(watch.head, pair)
            if not against:
                second.looked()
            return against

        return observe


def looked_on(
    watch: Watch, camera: Camera, sensor: Sensor, lights: ExitStack, observer: Observer = lambda _watch, _step: ""
) -> LiveFrames:
    """Frames with the verdict of `watch`, and of `observer` on each step; the screen is entered into `lights`."""
    screen: Display | None = None
    while True:
        step = watch.see(camera.read(sensor.deadline))
        if (objection := observer(watch, step)) and not isinstance(step, Refused):
            return watch.frames(objection)
        match step:
            case Prompt(gesture):
                sensor.tell(gesture.value, SENTENCES[gesture], gestures=[gesture.value])
            case Show(hue):
                screen = screen or _lit(sensor, lights)
                colour = NEUTRAL if hue is None else COLOURS[hue]
                watch.shown(screen.fill(colour, sensor.deadline))
            case Refused(reason):
                return watch.frames(reason)
            case Passed():
                return watch.frames()
            case liveness.Wait() | liveness.Again():
                pass


def _lit(sensor: Sensor, lights: ExitStack) -> Display:
    """The screen, which from now on is not the person's to read."""
    sensor.tell("flash", KEEP_LOOKING)
    return lights.enter_context(sensor.screen())


@dataclass(frozen=True)
class LivePipeline(BindablePipeline):
    """A pipeline that takes frames of a challenge only from somebody who was seen to answer it."""

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features, or the reason for a refusal; frames without a verdict are refused too."""
        if purpose == "challenge":
            refusal = captures.refusal if isinstance(captures, LiveFrames) else _NOBODY_SEEN
            if refusal or not captures:
                return Examined(0, refusal or _NOBODY_SEEN)
        return super().examine(captures, purpose)
