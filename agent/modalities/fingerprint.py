"""The fingerprint: one impression at a time; between two the finger is lifted."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from agent.capabilities import with_image
from agent.config import Count, Section
from agent.extension import Effort, Pipeline, Sensor
from agent.modalities._options import options_as
from hal import DeviceKind, FingerprintImage, FingerprintReader

LIFT_S = 5.0


class FingerprintOptions(Section, frozen=True):
    """`impressions` make a template; `tries` per challenge count refused ones too."""

    impressions: Count = 4
    tries: Count = 3


class Fingerprint:
    """The modality `fingerprint`; its options are `FingerprintOptions`."""

    name = "fingerprint"
    kind = DeviceKind.FINGERPRINT
    alone = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = options_as(FingerprintOptions, self.name, options)
        self.effort = Effort(chosen.impressions, chosen.tries)

    def captures(self, sensor: Sensor) -> Generator[Sequence[FingerprintImage], None, None]:
        """Impressions."""
        while True:
            yield [sensor.use(lambda reader: _impression(with_image(reader), sensor))]

    def pipeline(self) -> Pipeline:
        """Minutiae."""
        from agent.modalities._own import OwnPipeline

        return OwnPipeline.of(self.name)


def _impression(reader: FingerprintReader, sensor: Sensor) -> FingerprintImage:
    if sensor.attempt > 1:
        sensor.tell("lift", "Lift the finger.")
        reader.wait_removed(sensor.deadline.within(LIFT_S))
    return reader.capture(sensor.deadline, lambda: sensor.tell("place", "Place the finger flat on the reader."))
