"""What a package needs to add a modality: the agent's stable face towards third parties.

A package offers a modality by the entry-point group `keyvigil.modalities`. The entry point's name is the modality's,
and what it names is called with the options table of `[modalities.NAME]` and returns a `Modality`. The device that it
senses with comes from a driver (`hal.Driver`, group `keyvigil.drivers`) of the same `kind`. docs/writing-a-driver.md
builds both.

The names in `__all__` keep their meaning within a major version; nothing else of `agent` does. The modalities that come
with Keyvigil are of exactly this shape (`agent.modalities`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from agent.errors import BiometricError, ConfigError, StraySample
from agent.pipelines import DIGEST_BYTES, Bindable, Examined, FeatureVector, Match, Pipeline, Purpose, RefusesReplays
from hal import Camera, Deadline, Display
from protocol.messages import ModalityModel

__all__ = [
    "DIGEST_BYTES",
    "MODALITY_GROUP",
    "Bindable",
    "BiometricError",
    "ConfigError",
    "Effort",
    "Examined",
    "FeatureVector",
    "KeptAtDevice",
    "Match",
    "Modality",
    "ModalityModel",
    "PersonAbsent",
    "Pipeline",
    "Purpose",
    "RefusesReplays",
    "SecondCamera",
    "Sensor",
    "StraySample",
]

MODALITY_GROUP = "keyvigil.modalities"
"""The entry-point group in which a package offers modalities."""

T = TypeVar("T")


class PersonAbsent(Exception):
    """The prompt reported that nobody will do this step. A modality lets it pass."""


@dataclass(frozen=True)
class Effort:
    """What a modality asks of a person.

    `samples` good ones make a template. `tries` is how many a challenge may take, refused and unmatched ones included.
    `timed`: samples come by themselves, as a camera's frames do, so that time limits the refused ones and not their
    number. `pause_s` lies between two samples of an enrolment.
    """

    samples: int
    tries: int = 1
    timed: bool = False
    pause_s: float = 0.0


@dataclass(frozen=True)
class SecondCamera:
    """A camera beside a modality's own; with `strobe` its light comes and goes from frame to frame.

    `looked` is to be called after each look in which it saw the same as the modality's own.
    """

    camera: Camera
    strobe: bool
    looked: Callable[[], None] = lambda: None


class Sensor(Protocol):
    """The modality's device with one person before it; valid for as long as `Modality.captures` runs."""

    @property
    def purpose(self) -> Purpose:
        """What the samples are for."""
        ...

    @property
    def attempt(self) -> int:
        """Number of the sample that is asked for now, from 1."""
        ...

    @property
    def deadline(self) -> Deadline:
        """When this sample must be there; every blocking call takes it, or an earlier one."""
        ...

    @property
    def gestures(self) -> Sequence[str]:
        """What the authority drew for the person to do, in order; empty at enrolment."""
        ...

    @property
    def flashes(self) -> Sequence[str]:
        """The hues that the authority drew for the node's screen, in order; empty where none light the person."""
        ...

    def screen(self) -> AbstractContextManager[Display]:
        """The node's screen, which shows again what it did when the context ends. Raises the errors of `hal`."""
        ...

    def infrared(self) -> AbstractContextManager[SecondCamera | None]:
        """An infrared camera beside the modality's own, where the node has one. Raises the errors of `hal`.

        It is pinned with the sensor when it is opened at enrolment, and in evidence when it looked on at a challenge.
        """
        ...

    def digits(self) -> str:
        """Decimal digits for the person to say or type: those of the challenge, fresh ones at enrolment."""
        ...

    def tell(self, action: str, instruction: str, *, digits: str = "", gestures: Sequence[str] = ()) -> None:
        """Tell the person what to do next: a word for programs, a sentence for people.

        Returns when the person was told and begins; raises `PersonAbsent` when nobody will.
        """
        ...

    def use(self, work: Callable[[Any], T], on_return: Callable[[], None] | None = None) -> T:
        """`work` on the device, which is opened for its first use and held until `release` or the end.

        When the device goes away meanwhile and the same one comes back before the deadline, `on_return` is called and
        `work` begins again. Raises the errors of `hal`.
        """
        ...

    def release(self) -> None:
        """Close the device; the next `use` opens it again."""
        ...


class Modality(Protocol):
    """One way to recognise a person. One object serves the process; `captures` may run in a thread of its own."""

    name: str
    """Name of the entry point: of configuration, prompts, profiles and evidence."""

    kind: str
    """Kind of the device: a `hal.DeviceKind`, or the word that this package's driver has for it."""

    alone: bool
    """Whether it needs the person's whole attention, and comes before those that can be given together."""

    effort: Effort

    def captures(self, sensor: Sensor) -> Generator[Sequence[Any], None, None]:
        """One sample after another, as asked for: each what `Pipeline.examine` takes at a time.

        It is closed when enough samples are there. Raises `PersonAbsent` and the errors of `hal`.
        """
        ...

    def pipeline(self) -> Pipeline:
        """How samples become features; called once. Models are loaded by first use or `warm_up`, not here."""
        ...


@runtime_checkable
class KeptAtDevice(Protocol):
    """What a modality has besides if its device keeps the template: of one person, whoever was enrolled last.

    The agent lets only that person answer by it, and withdraws the template when their enrolment fails later on.
    """

    def withdraw(self, sensor: Sensor) -> None:
        """Have the device forget what it enrolled; not an error when there is nothing. Raises the errors of `hal`."""
        ...
