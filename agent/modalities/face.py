"""The face: frames of a camera that runs while the person looks into it and answers gestures."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from agent.config import Count, Seconds, Section, Sha256
from agent.extension import Effort, Pipeline, Sensor
from agent.modalities._options import options_as
from hal import Camera, DeviceKind, Frame

GESTURES = "gestures"
"""The trait of a face of which challenges ask for gestures."""

MOST_STEP_S = 15.0
"""A person who is slow needs less; whoever has longer can look for a recording of the gesture."""

FRAME_GAP_S = 0.4
"""Between two enrolled frames, so that they are not one picture twice."""


class FaceOptions(Section, frozen=True):
    """`enrolled_frames` make a template; `frames` are looked at together at a challenge without liveness.

    With `liveness` a challenge is answered by the gestures that the authority drew: each within `step_s` of its prompt,
    the first once a quiet face was seen, for which there are `beginning_s`.
    `model` is the path of an ArcFace-class ONNX network and `model_sha256` its hash, in place of the shipped one;
    `threshold` is the least score of a match that the site measured, 0 for the documented one.
    """

    enrolled_frames: Count = 5
    frames: Count = 3
    liveness: bool = True
    step_s: Annotated[float, msgspec.Meta(gt=0, le=MOST_STEP_S)] = 5.0
    beginning_s: Seconds = 10.0
    model: str = ""
    model_sha256: Sha256 | None = None
    threshold: float = 0.0


class Face:
    """The modality `face`; its options are `FaceOptions`."""

    name = "face"
    kind = DeviceKind.CAMERA

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options_as(FaceOptions, self.name, options)
        self.alone = self._options.liveness
        """Nobody turns the head and reads digits aloud at once."""
        self.effort = Effort(self._options.enrolled_frames, timed=True, pause_s=FRAME_GAP_S)

    def captures(self, sensor: Sensor) -> Generator[Sequence[Frame], None, None]:
        """One frame at a time for an enrolment; for a challenge those of one answer to its gestures, and no further.

        Whoever failed knows the row of gestures; another try needs another challenge.
        """
        if sensor.purpose == "challenge" and self._options.liveness:
            from agent.biometrics._dlib import shared_engine
            from agent.modalities._liveness import Questioner

            yield Questioner(shared_engine(), self._options.step_s, self._options.beginning_s).question(sensor)
            return
        if self._options.liveness:
            # Opened so that it is pinned with the sensor; it looks on at challenges only.
            with sensor.infrared():
                pass
        count = 1 if sensor.purpose == "enrolment" else self._options.frames
        sensor.tell("look", "Look into the camera.")
        while True:
            yield sensor.use(lambda camera: _frames(camera, sensor, count))

    def pipeline(self) -> Pipeline:
        """Descriptors of frontal faces."""
        from agent.modalities._liveness import LivePipeline
        from agent.modalities._own import BindablePipeline

        chosen = self._options
        settings = {"model": chosen.model, "model_sha256": chosen.model_sha256 or "", "threshold": chosen.threshold}
        if not chosen.liveness:
            return BindablePipeline.of(self.name, **settings)
        return LivePipeline.of(self.name, GESTURES, **settings)


def _frames(camera: Camera, sensor: Sensor, count: int) -> list[Frame]:
    return [camera.read(sensor.deadline) for _ in range(count)]
