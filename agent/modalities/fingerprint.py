"""The fingerprint: one impression at a time; between two the finger is lifted."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

from agent.capabilities import with_image
from agent.config import Count, Section
from agent.extension import Effort, Pipeline, Sensor
from agent.modalities._options import options_as
from hal import DeviceKind, FingerprintImage, FingerprintReader

LIFT_S = 5.0


class FingerprintOptions(Section, frozen=True):
    """`impressions` make a template; `tries` per challenge count refused ones too. `extractor` finds the minutiae."""

    impressions: Count = 4
    tries: Count = 3
    extractor: Literal["neural", "fast"] = "neural"


class Fingerprint:
    """The modality `fingerprint`; its options are `FingerprintOptions`."""

    name = "fingerprint"
    kind = DeviceKind.FINGERPRINT
    alone = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options_as(FingerprintOptions, self.name, options)
        self.effort = Effort(self._options.impressions, self._options.tries)

    def captures(self, sensor: Sensor) -> Generator[Sequence[FingerprintImage], None, None]:
        """Impressions."""
        while True:
            yield [sensor.use(lambda reader: _impression(with_image(reader), sensor))]

    def pipeline(self) -> Pipeline:
        """Minutiae."""
        from agent.modalities._own import OwnPipeline

        return OwnPipeline.of(self.name, extractor=self._options.extractor)


def _impression(reader: FingerprintReader, sensor: Sensor) -> FingerprintImage:
    if sensor.attempt > 1:
        sensor.tell("lift", "Lift the finger.")
        reader.wait_removed(sensor.deadline.within(LIFT_S))
    return reader.capture(sensor.deadline, lambda: sensor.tell("place", "Place the finger flat on the reader."))
