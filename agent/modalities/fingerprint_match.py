"""A finger at a reader that compares by itself: weak evidence, for a machine whose reader gives no image.

The template is no biometric one: it names the finger and the reader, whose own template stays where the reader keeps
it. Its features say whether the reader said yes. Nothing in them is secret, and a commitment to them hides nothing that
could not be guessed.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.capabilities import with_match
from agent.config import Count, Section
from agent.extension import BiometricError, Effort, Examined, Match, ModalityModel, Purpose, Sensor
from agent.modalities._options import options_as
from hal import DeviceInfo, DeviceKind, EnrolStage, Finger, MatchOnlyReader, NotFound
from protocol.codec import ProtocolViolation, decode, encode

_NAME = "fingerprint-match"
_HINTS = {
    "again": "That was not clear. ",
    "too-short": "That was too short. ",
    "not-centred": "Place the finger in the middle. ",
    "lift-first": "Lift the finger first. ",
}


class FingerprintMatchOptions(Section, frozen=True):
    """`finger` is the one that is enrolled, one of `hal.Finger`; `tries` is how many scans a challenge may take."""

    finger: Finger = Finger.RIGHT_INDEX
    tries: Count = 3


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the reader holds a template of, and which reader that is: the whole template of this modality."""

    finger: Finger
    driver: str
    transport: str
    port: str
    vendor_id: str
    product_id: str
    serial: str
    name: str

    @classmethod
    def of(cls, info: DeviceInfo, finger: Finger) -> Reference:
        """The reference of `finger` at the reader that `info` describes."""
        return cls(
            finger=finger,
            driver=info.driver,
            transport=info.transport.value,
            port=info.port,
            vendor_id=info.vendor_id,
            product_id=info.product_id,
            serial=info.serial,
            name=info.name,
        )

    def digest(self) -> bytes:
        """SHA-256 of it, 32 bytes."""
        return hashlib.sha256(encode(self)).digest()


@dataclass(frozen=True)
class Answer:
    """What the reader said of one scan, or that it enrolled."""

    matched: bool
    reference: Reference

    def to_bytes(self) -> bytes:
        """Eighteen int16: form (1), the answer (0 or 1), and the reference's digest as sixteen words."""
        return struct.pack("<hh", 1, self.matched) + self.reference.digest()


class FingerprintMatch:
    """The modality `fingerprint-match`; its options are `FingerprintMatchOptions`."""

    name = _NAME
    kind = DeviceKind.FINGERPRINT
    alone = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options_as(FingerprintMatchOptions, self.name, options)
        self.effort = Effort(samples=1, tries=self._options.tries)

    def captures(self, sensor: Sensor) -> Generator[Sequence[Answer], None, None]:
        """One enrolment at the reader with all its scans, or one comparison after another."""
        work = self._enrol if sensor.purpose == "enrolment" else self._verify
        while True:
            yield [sensor.use(lambda device: work(with_match(device), sensor))]

    def withdraw(self, sensor: Sensor) -> None:
        """Have the reader forget the finger."""

        def forget(reader: MatchOnlyReader) -> None:
            with suppress(NotFound):
                reader.forget(self._options.finger, sensor.deadline)

        sensor.use(lambda device: forget(with_match(device)))

    def pipeline(self) -> MatchPipeline:
        """Comparing answers with the reference."""
        return MatchPipeline()

    def _enrol(self, reader: MatchOnlyReader, sensor: Sensor) -> Answer:
        finger = self._options.finger

        def on_stage(stage: EnrolStage) -> None:
            if stage.passed < stage.stages:
                hint = _HINTS[stage.hint] if stage.hint is not None else ""
                scan = f"scan {stage.passed + 1} of {stage.stages}"
                sensor.tell("place", f"{hint}Place the {_spoken(finger)} on the reader, {scan}.")

        reader.enrol(finger, sensor.deadline, on_stage)
        return Answer(True, Reference.of(reader.info, finger))

    def _verify(self, reader: MatchOnlyReader, sensor: Sensor) -> Answer:
        finger = self._options.finger

        def ask(hint: str = "") -> None:
            sensor.tell("place", f"{hint}Place the {_spoken(finger)} on the reader.")

        outcome = reader.verify(sensor.deadline, ask, lambda hint: ask(_HINTS[hint]), finger)
        return Answer(outcome.matched, Reference.of(reader.info, finger))


class MatchPipeline:
    """Features that are an answer. Quality and margin are full: nothing is measured that could lower another's."""

    model = ModalityModel(modality=_NAME, model="match-only-reader/1", parameters="1")

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """The answer itself."""
        del purpose
        (answer,) = captures
        return Examined(100, "", answer)

    def enrol(self, samples: Sequence[Any]) -> bytes:
        """The reference of what the reader enrolled."""
        (answer,) = samples
        return encode(answer.reference)

    def match(self, template: bytes, sample: Any) -> Match:
        """Whether the reader said yes, of the finger and at the reader of the enrolment."""
        try:
            reference = decode(template, Reference)
        except ProtocolViolation:
            raise BiometricError("the reference of the enrolled finger is damaged") from None
        return Match(bool(sample.matched) and sample.reference == reference, 100)

    def warm_up(self) -> None:
        """There is nothing to load."""


def _spoken(finger: Finger) -> str:
    words = finger.value.removesuffix("-finger").replace("-", " ")
    return words if "thumb" in words else f"{words} finger"
