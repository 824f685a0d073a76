"""Raw captures of one person at the sensors. What comes back exists in memory only and is dropped after extraction."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from agent.devices import Devices
from agent.extension import KeptAtDevice, Modality, PersonAbsent, Purpose, SecondCamera
from agent.prompting import Prompter, Step
from hal import Clock, Deadline, Device, DeviceInfo, Display, PermissionDenied, Reopening
from protocol.messages import SensorIdentity

T = TypeVar("T")
DIGITS = 6
"""How many a person says at enrolment; those of a challenge come from the authority."""


@dataclass(frozen=True)
class Beside:
    """The infrared camera beside a sensor: which one, whether it strobes, and how often it looked on and agreed."""

    sensor: SensorIdentity
    strobe: bool
    looks: int = 0


@dataclass(frozen=True)
class Booth:
    """The sensors with one person before them: prompts first, then captures; every wait has a deadline.

    `seen` holds the identity of each sensor that was used, by modality, `lit` that of the screen that lit the person
    for it, `beside` the infrared camera. For as long as the booth lasts, another device in the place of a sensor or of
    that camera is refused.
    """

    node: str
    admin: str
    purpose: Purpose
    devices: Devices
    modalities: Mapping[str, Modality]
    prompter: Prompter
    clock: Clock
    digits: str = ""
    gestures: Sequence[str] = ()
    flashes: Sequence[str] = ()
    random: Callable[[int], bytes] = os.urandom
    seen: dict[str, SensorIdentity] = field(default_factory=dict)
    lit: dict[str, SensorIdentity] = field(default_factory=dict)
    beside: dict[str, Beside] = field(default_factory=dict)
    _known: dict[str, DeviceInfo] = field(default_factory=dict)

    @contextmanager
    def session(self, modality: str, of: int, deadline: Deadline) -> Iterator[Session]:
        """Samples of one modality, `of` of which are foreseen; its device is closed at the end."""
        session = Session(self, self.modalities[modality], of, deadline)
        try:
            yield session
        finally:
            session.close()

    def note(self, modality: str, device: Device) -> None:
        """Remember whose samples these are."""
        if modality not in self._known:
            self._known[modality] = device.info
            self.seen[modality] = self.devices.identity_of(modality, device)

    def note_beside(self, modality: str, second: SecondCamera) -> None:
        """Remember what looks on from now; raises `PermissionDenied` for another camera than before."""
        before, sensor = self.beside.get(modality), self.devices.infrared_identity_of(second.camera)
        if before is not None and before.sensor != sensor:
            raise PermissionDenied(
                f"another infrared camera stands beside that of the {modality}: {sensor.port}",
                remedy="Put the one back that was there, and begin again.",
            )
        self.beside[modality] = Beside(sensor, second.strobe)

    def looked(self, modality: str) -> None:
        """Count a look of the infrared camera that agreed."""
        before = self.beside[modality]
        self.beside[modality] = replace(before, looks=before.looks + 1)

    def known(self, modality: str) -> DeviceInfo | None:
        """The device that this person's earlier samples of the modality came from."""
        return self._known.get(modality)


class Session:
    """One person giving samples of one modality: the `agent.extension.Sensor` that its captures run with."""

    def __init__(self, booth: Booth, modality: Modality, of: int, deadline: Deadline) -> None:
        self._booth = booth
        self._modality = modality
        self._name = modality.name
        self._of = of
        self.attempt = 1
        self.deadline = deadline
        self._deck = ""
        self._device = Reopening(self._open, booth.clock, booth.known(modality.name))
        self._captures = modality.captures(self)

    @property
    def purpose(self) -> Purpose:
        """What the samples are for."""
        return self._booth.purpose

    @property
    def gestures(self) -> Sequence[str]:
        """What the authority drew, in order."""
        return self._booth.gestures

    @property
    def flashes(self) -> Sequence[str]:
        """What the authority drew for the screen, in order."""
        return self._booth.flashes

    @contextmanager
    def screen(self) -> Iterator[Display]:
        """The node's screen, lighting this person."""
        with self._booth.devices.open_display(self.deadline) as display:
            self._booth.lit[self._name] = self._booth.devices.display_identity_of(display)
            yield display

    @contextmanager
    def infrared(self) -> Iterator[SecondCamera | None]:
        """The infrared camera beside the modality's own, where one is configured."""
        second = self._booth.devices.open_infrared(self.deadline)
        if second is None:
            yield None
            return
        with second.camera:
            self._booth.note_beside(self._name, second)
            yield replace(second, looked=lambda: self._booth.looked(self._name))

    def take(self, attempt: int, deadline: Deadline | None = None) -> Sequence[Any]:
        """Sample number `attempt`, by a deadline of its own if it has one.

        Raises `PersonAbsent`, the errors of devices, and `BiometricError` for a modality that failed.
        """
        self.attempt, self.deadline = attempt, deadline or self.deadline
        sample = next(self._captures, None)
        if sample is None:
            raise PersonAbsent(f"there are no further samples of {self._name}")
        return sample

    def withdraw(self) -> None:
        """Have the device forget what it enrolled, where it keeps anything. Raises as `take`."""
        if isinstance(self._modality, KeptAtDevice):
            self._modality.withdraw(self)

    def close(self) -> None:
        """End the captures and close the device."""
        try:
            self._captures.close()
        finally:
            self.release()

    def digits(self) -> str:
        """The challenge's digits, or fresh ones: dealt from shuffled decks, so that two strings hold every digit."""
        if self._booth.purpose == "challenge":
            return self._booth.digits
        while len(self._deck) < DIGITS:
            self._deck += "".join(sorted("0123456789", key=lambda _: self._booth.random(8)))
        drawn, self._deck = self._deck[:DIGITS], self._deck[DIGITS:]
        return drawn

    def tell(self, action: str, instruction: str, *, digits: str = "", gestures: Sequence[str] = ()) -> None:
        """Prompt the person; raises `PersonAbsent` when the prompt fails."""
        message = Step(
            node=self._booth.node,
            admin=self._booth.admin,
            purpose=self._booth.purpose,
            step=self._name,
            action=action,
            attempt=self.attempt,
            of=self._of,
            digits=digits,
            gestures=list(gestures),
            instruction=instruction,
            seconds=round(self.deadline.remaining(), 1),
        )
        if not self._booth.prompter.instruct(message):
            raise PersonAbsent(f"nobody answers the prompt for {self._name}")

    def use(self, work: Callable[[Any], T], on_return: Callable[[], None] | None = None) -> T:
        """`work` on the device, which is opened again when it went away and came back."""
        runs = 0

        def begin(device: Device) -> T:
            nonlocal runs
            self._booth.note(self._name, device)
            runs += 1
            if runs > 1 and on_return is not None:
                on_return()
            return work(device)

        return self._device.run(begin, self.deadline)

    def release(self) -> None:
        """Close the device until its next use."""
        self._device.close()

    def _open(self, deadline: Deadline) -> Device:
        return self._booth.devices.open_sensor(self._name, deadline)
