"""A station: the simulated devices of one node in a process of their own, and the person who uses them.

It is told what to do over a UNIX socket, one JSON object a line each way:
`{"op": "send", "person": NAME or null, "delay_s": S, "care": C}`, `{"op": "hear", "message": {…}}` (what the agent's
prompt hook was given; the answer has `present`), `{"op": "ping"}`, and the commands of `simulators.lab.faults` for its
devices `fingerprint`, `face`, `voice`, `enclave`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from hal import SystemClock
from simulators.devices.alsa_microphone import LiveAlsaMicrophone
from simulators.devices.camera_stream import CameraStream, FrameSource, grey_card
from simulators.devices.faults import Faulty
from simulators.devices.swtpm import Swtpm
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import serve_usbip
from simulators.lab.control import ControlServer
from simulators.lab.faults import FaultBoard, OrderedFault
from simulators.lab.hook import CONTROL_SOCKET
from simulators.lab.person import Attendant, Manner
from simulators.lab.processes import LabError
from simulators.personas import Asked, Persona, PersonaError, folder_personas, shipped_personas

READY_FILE = "station.json"
HURRY = 2.0
"""The simulated microphone delivers two seconds of sound in one, so that a story takes half the patience."""


class StationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a station is made of; `data` is a folder of real samples, or none for the shipped personas.

    The camera's port is given, because a sensor that comes back elsewhere is another sensor to the authority.
    """

    folder: str
    tpm_state: str
    serial: str
    camera_port: int
    data: str | None = None
    faults: dict[str, list[OrderedFault]] = {}


class Endpoints(msgspec.Struct, frozen=True):
    """Where the node's drivers find the devices; written to `station.json` once all of them are there."""

    pid: int
    tcti: str
    usbip: str
    camera: str
    microphone: str
    environment: dict[str, str]
    personas: list[str]


class StreamLens:
    """The camera as something to look into."""

    def __init__(self, stream: CameraStream) -> None:
        self._stream = stream
        self.watch(None, 1.0)

    def watch(self, persona: Persona | None, care: float, take: int | None = None) -> None:
        """Put a persona, or an empty room, before the camera."""
        self._asked: list[Asked] = []
        self._shown_ns = self._stream.clock.monotonic_ns()
        self._stream.show(_view(persona, care, take, self._asked))

    def ask(self, gesture: str) -> None:
        """Have whoever is there hear that this gesture is wanted."""
        self._asked.append(Asked(gesture, (self._stream.clock.monotonic_ns() - self._shown_ns) / 1e9))


def _view(persona: Persona | None, care: float, take: int | None, asked: Sequence[Asked]) -> FrameSource:
    """What the camera sees from now on."""
    if persona is None:
        empty = grey_card(480, 640)
        return lambda _: empty
    if take is None:
        return lambda seconds: persona.frame(seconds, care)
    return lambda seconds: persona.perform(seconds, tuple(asked), take, care)


def personas_of(data: str | None) -> dict[str, Persona]:
    """The people of a lab by name; raises `LabError` when a folder has not enough of them."""
    try:
        people: tuple[Persona, ...] = shipped_personas() if data is None else folder_personas(Path(data))
    except PersonaError as error:
        raise LabError(error.args[0], error.remedy) from None
    return {persona.name: persona for persona in people}


class Station:
    """The devices, the person, and the commands that move them."""

    def __init__(self, config: StationConfig, stack: ExitStack) -> None:
        folder = Path(config.folder)
        self._people = personas_of(config.data)
        for persona in self._people.values():
            persona.finger(0)
            persona.frame(0.0)
        self._reader = Uru4000Model(serial=config.serial)
        server = serve_usbip([self._reader])
        stack.callback(server.close)
        stream = CameraStream(port=config.camera_port, fps=8)
        stack.callback(stream.close)
        microphone = stack.enter_context(LiveAlsaMicrophone(folder / "alsa", speed=HURRY))
        tpm = stack.enter_context(Swtpm(Path(config.tpm_state)))
        self.attendant = Attendant(self._reader, StreamLens(stream), microphone, self._people, SystemClock())
        devices: dict[str, Faulty] = {"fingerprint": self._reader, "face": stream, "voice": microphone, "enclave": tpm}
        self._board = FaultBoard(devices, config.faults)
        self.endpoints = Endpoints(
            pid=os.getpid(),
            tcti=tpm.tcti,
            usbip=f"{server.host}:{server.port}",
            camera=stream.url,
            microphone=microphone.device,
            environment=microphone.environment(),
            personas=sorted(self._people),
        )

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; an unknown one or a wrong argument is answered with `error`."""
        try:
            return {"ok": True, **self._obey(command)}
        except (KeyError, TypeError, ValueError, PersonaError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _obey(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["op"]:
            case "send":
                manner = Manner(float(command.get("delay_s", 0)), float(command.get("care", 1)))
                self.attendant.send(command["person"], manner)
            case "hear":
                if not isinstance(command["message"], dict):
                    raise TypeError("a message is a JSON object")
                return {"present": self.attendant.hear(command["message"])}
            case "ping":
                pass
            case _:
                return self._board.obey(command)
        return {}


def run_station(config: StationConfig) -> None:
    """Serve the devices until SIGTERM or SIGINT."""
    folder = Path(config.folder)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    with ExitStack() as stack:
        station = Station(config, stack)
        control = stack.enter_context(ControlServer(folder / CONTROL_SOCKET, station))
        thread = threading.Thread(target=control.serve_forever, name="control", daemon=True)
        thread.start()
        stack.callback(control.shutdown)
        ready = folder / f"{READY_FILE}.new"
        ready.write_bytes(msgspec.json.encode(station.endpoints))
        ready.rename(folder / READY_FILE)
        done.wait()
