"""A person at a reader that only matches: the real fprintd with libfprint's virtual reader, beside sensors of texts."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from agent.capturing import Booth
from agent.clocks import StoppableClock
from agent.config import Config, parse_config
from agent.devices import Devices
from agent.extension import Modality, Purpose
from agent.modalities import load_modalities
from agent.pipelines import Pipeline
from agent.prompting import Step
from hal import Deadline, Device, available_drivers
from protocol.messages import SensorIdentity
from simulators.devices.dbus import PrivateBus
from simulators.devices.libfprint_reader import VirtualFprintd
from tests.agent.people import FakeDevices, QuietPrompter, Scene, modalities, pipelines

MATCH = "fingerprint-match"
SHOWS = {"face": ["face"], "voice": ["voice"]}


def reader_config(bus: PrivateBus, options: str = "") -> Config:
    """A node whose only sensor is the reader on `bus`."""
    return parse_config(
        f"""
        [node]
        name = "node-a"
        state_dir = "/nowhere"
        authority = "https://localhost:1"
        [devices.enclave]
        driver = "tpm2"
        sha256 = "{"0" * 64}"
        [devices.{MATCH}]
        driver = "fprintd"
        sha256 = "{available_drivers()["fprintd"].sha256}"
        options = {{ bus = "{bus.address}" }}
        [presentation]
        minimum_modalities = 1
        [modalities.{MATCH}.options]
        {options}
        """.encode()
    )


@dataclass
class ScanningPrompter(QuietPrompter):
    """Lays `finger` on the reader whenever that is asked for, after `commands` that the reader is given instead."""

    daemon: VirtualFprintd | None = None
    finger: str = "alice"
    commands: list[str] = field(default_factory=list)

    def instruct(self, step: Step) -> bool:
        told = super().instruct(step)
        if told and step.step == MATCH and self.daemon is not None:
            command = self.commands.pop(0) if self.commands else f"SCAN {self.finger}" if self.finger else ""
            if command:
                self.daemon.command(command)
        return told


class ReaderBesideTexts(FakeDevices):
    """Face and voice as texts; the reader behind the driver as it ships."""

    def __init__(self, real: Devices, scene: Scene) -> None:
        super().__init__(scene, ("face", "voice", MATCH))
        self.real = real

    def open_sensor(self, name: str, deadline: Deadline) -> Device:  # type: ignore[override]
        return self.real.open_sensor(name, deadline) if name == MATCH else super().open_sensor(name, deadline)

    def identify(self, name: str) -> SensorIdentity:
        return self.real.identify(name) if name == MATCH else super().identify(name)

    def identity_of(self, name: str, device: Device) -> SensorIdentity:
        return self.real.identity_of(name, device) if name == MATCH else super().identity_of(name, device)


class Unhurried(StoppableClock):
    """Nobody sleeps between two frames."""

    def sleep(self, seconds: float) -> None:
        pass


@dataclass
class Counter:
    """Where a person stands: at the reader, a camera and a microphone."""

    bus: PrivateBus
    daemon: VirtualFprintd
    shows: dict[str, list[str | Exception]] = field(default_factory=lambda: {k: list(v) for k, v in SHOWS.items()})
    options: str = ""

    def __post_init__(self) -> None:
        config = reader_config(self.bus, self.options)
        real = load_modalities(config)
        self.modalities: dict[str, Modality] = {**modalities(), **real}
        self.pipelines: dict[str, Pipeline] = {name: texts for name, texts in pipelines().items() if name in SHOWS}
        self.pipelines[MATCH] = real[MATCH].pipeline()
        self.devices = ReaderBesideTexts(Devices(config, real), Scene(self.shows))
        self.prompter = ScanningPrompter(daemon=self.daemon)
        self.clock = Unhurried(threading.Event())

    def booth(self, purpose: Purpose, finger: str = "alice") -> Booth:
        self.prompter.finger = finger
        devices = self.devices
        return Booth("node-a", "alice", purpose, devices, self.modalities, self.prompter, self.clock, "4719")  # type: ignore[arg-type]
