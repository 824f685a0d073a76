"""The fingerprint: one impression at a time; between two the finger is lifted."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from agent.capabilities import with_image
from agent.config import Count, Section
from agent.extension import Effort, Pipeline, Sensor
from agent.modalities._options import options_as
from agent.modalities._two_fingers import TwoFingers
from hal import DeviceKind, FingerprintImage, FingerprintReader

LIFT_S = 5.0


class FingerprintOptions(Section, frozen=True):
    """`impressions` make a template; `tries` per challenge count refused ones too. `extractor` finds the minutiae.

    With two `fingers` a sample is an impression of each, and both must match. `threshold` is the least score of a match
    that the site measured, 0 for the shipped one.
    """

    impressions: Count = 4
    tries: Count = 3
    fingers: Literal[1, 2] = 1
    extractor: Literal["neural", "fast"] = "neural"
    threshold: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 0.0


class Fingerprint:
    """The modality `fingerprint`; its options are `FingerprintOptions`."""

    name = "fingerprint"
    kind = DeviceKind.FINGERPRINT
    alone = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options_as(FingerprintOptions, self.name, options)
        self.effort = Effort(self._options.impressions, self._options.tries)

    def captures(self, sensor: Sensor) -> Generator[Sequence[FingerprintImage], None, None]:
        """Impressions, one of each finger."""
        asked = [("place", "")] if self._options.fingers == 1 else [("place", "first "), ("place-second", "second ")]
        while True:
            lift = sensor.attempt > 1
            sample = []
            for action, which in asked:
                sample.append(sensor.use(partial(_impression, sensor=sensor, action=action, which=which, lift=lift)))
                lift = True
            yield sample

    def pipeline(self) -> Pipeline:
        """Minutiae."""
        from agent.modalities._own import OwnPipeline

        pipeline = OwnPipeline.of(self.name, extractor=self._options.extractor, threshold=self._options.threshold)
        return pipeline if self._options.fingers == 1 else TwoFingers(pipeline)


def _impression(device: Any, sensor: Sensor, action: str, which: str, lift: bool) -> FingerprintImage:
    reader: FingerprintReader = with_image(device)
    if lift:
        sensor.tell("lift", "Lift the finger.")
        reader.wait_removed(sensor.deadline.within(LIFT_S))
    instruction = f"Place the {which}finger flat on the reader."
    return reader.capture(sensor.deadline, lambda: sensor.tell(action, instruction))
