"""The face: frames of a camera that runs while the person looks into it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from agent.config import Count, Section, Sha256
from agent.extension import Effort, Pipeline, Sensor
from agent.modalities._options import options_as
from hal import Camera, DeviceKind, Frame

FRAME_GAP_S = 0.4
"""Between two enrolled frames, so that they are not one picture twice."""


class FaceOptions(Section, frozen=True):
    """`enrolled_frames` make a template; `frames` are looked at together at a challenge.

    `model` is the path of an ArcFace-class ONNX network and `model_sha256` its hash, in place of the shipped one;
    `threshold` is the least score of a match, 0 for the documented one.
    """

    enrolled_frames: Count = 5
    frames: Count = 3
    model: str = ""
    model_sha256: Sha256 | None = None
    threshold: float = 0.0


class Face:
    """The modality `face`; its options are `FaceOptions`."""

    name = "face"
    kind = DeviceKind.CAMERA
    alone = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options_as(FaceOptions, self.name, options)
        self.effort = Effort(self._options.enrolled_frames, timed=True, pause_s=FRAME_GAP_S)

    def captures(self, sensor: Sensor) -> Generator[Sequence[Frame], None, None]:
        """One frame at a time for an enrolment, several for a challenge."""
        count = 1 if sensor.purpose == "enrolment" else self._options.frames
        turns = "".join(f", then {gesture}" for gesture in sensor.gestures)
        sensor.tell("look", f"Look into the camera{turns}.", gestures=sensor.gestures)
        while True:
            yield sensor.use(lambda camera: _frames(camera, sensor, count))

    def pipeline(self) -> Pipeline:
        """Descriptors of frontal faces."""
        from agent.modalities._own import OwnPipeline

        chosen = self._options
        return OwnPipeline.of(
            self.name, model=chosen.model, model_sha256=chosen.model_sha256 or "", threshold=chosen.threshold
        )


def _frames(camera: Camera, sensor: Sensor, count: int) -> list[Frame]:
    return [camera.read(sensor.deadline) for _ in range(count)]
