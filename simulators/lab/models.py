"""The simulated devices that a bench can serve, by name of their model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simulators.devices.alsa_microphone import AlsaMicrophone, LiveAlsaMicrophone
from simulators.devices.camera_stream import CameraStream, grey_card
from simulators.devices.configfs_tree import ConfigfsTree
from simulators.devices.ef01_model import Ef01Model
from simulators.devices.faults import Faulty
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.press_sensor import PressSensorModel
from simulators.devices.pulse_microphone import PulseMicrophone
from simulators.devices.serial_line import SerialLine
from simulators.devices.softhsm import SoftHsm
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import serve_usbip
from simulators.personas import Persona

DIGITS = "4071825936"
"""What a persona says to a bench's microphone, which asks for nothing."""


def _nobody(_persona: Persona | None) -> None:
    """A device that senses no person."""


@dataclass(frozen=True)
class Served:
    """A device that is being served: the driver that finds it, with which options and environment.

    `attend` lets a persona, or nobody, stand at it.
    """

    device: Faulty
    driver: str
    options: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    attend: Callable[[Persona | None], None] = _nobody

    def describe(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "driver": self.driver,
            "options": dict(self.options),
            "environment": dict(self.environment),
            "faults": sorted(self.device.faults),
        }


Builder = Callable[[Mapping[str, Any], Path, ExitStack], Served]
"""Serves a model made with options; what it needs on disk lies in the folder, and it ends with the stack."""


def _usb(driver: str, model: type[PressSensorModel]) -> Builder:
    def serve(options: Mapping[str, Any], _folder: Path, stack: ExitStack) -> Served:
        reader = model(**_fitting(model, options))
        server = serve_usbip([reader])
        stack.callback(server.close)
        return Served(reader, driver, {"usbip": f"{server.host}:{server.port}"}, attend=_touching(reader))

    return serve


class Touchable(Protocol):
    """Where a finger can be laid."""

    def place(self, pixels: NDArray[np.uint8], dpi: int) -> None:
        """Lay a finger on it."""
        ...

    def lift(self) -> None:
        """Take it away."""
        ...


def _ef01(options: Mapping[str, Any], folder: Path, stack: ExitStack) -> Served:
    module = Ef01Model(**_fitting(Ef01Model, options))
    line = stack.enter_context(SerialLine(module, folder / "serial"))
    return Served(line, "ef01", {"port": str(line.link)}, attend=_touching(module))


def _touching(reader: Touchable) -> Callable[[Persona | None], None]:
    def attend(persona: Persona | None) -> None:
        reader.lift()
        if persona is not None:
            reader.place(*persona.finger(0))

    return attend


def _network_camera(options: Mapping[str, Any], _folder: Path, stack: ExitStack) -> Served:
    camera = stack.enter_context(CameraStream(**_fitting(CameraStream, options)))

    def attend(persona: Persona | None) -> None:
        card = grey_card(*camera.size)
        camera.show((lambda _: card) if persona is None else persona.frame)

    return Served(camera, "opencv", {"source": camera.url}, attend=attend)


def _microphone(model: type[AlsaMicrophone | LiveAlsaMicrophone | PulseMicrophone]) -> Builder:
    def serve(options: Mapping[str, Any], folder: Path, stack: ExitStack) -> Served:
        microphone = model(folder, **_fitting(model, options))
        if not isinstance(microphone, AlsaMicrophone):
            stack.enter_context(microphone)

        def attend(persona: Persona | None) -> None:
            microphone.silence()
            if persona is not None:
                microphone.speak(*persona.say(DIGITS, 0))

        environment = microphone.environment()
        return Served(microphone, "portaudio", {"device": microphone.device}, environment, attend)

    return serve


def _tpm(options: Mapping[str, Any], folder: Path, stack: ExitStack) -> Served:
    _refuse(options, "a TPM")
    tpm = stack.enter_context(Swtpm(SwtpmFactory(folder).manufacture("tpm")))
    return Served(tpm, "tpm2", {"tcti": tpm.tcti})


def _token(options: Mapping[str, Any], folder: Path, stack: ExitStack) -> Served:
    _refuse(options, "a token")
    token = stack.enter_context(SoftHsm(folder))
    where = {"module": str(token.module), "token": token.label, "pin_file": str(token.pin_file)}
    return Served(token, "pkcs11", {**where, "environment": token.environment()})


def _confidential_vm(options: Mapping[str, Any], folder: Path, stack: ExitStack) -> Served:
    tree = stack.enter_context(ConfigfsTree(folder / "configfs", **_fitting(ConfigfsTree, options)))
    return Served(tree, "configfs-tsm", {"root": str(tree.root)})


def _refuse(options: Mapping[str, Any], what: str) -> None:
    if options:
        raise ValueError(f"{what} takes no options")


def _fitting(model: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` as keyword arguments; raises `ValueError` for one that the model does not take from a configuration."""
    plain = {
        name
        for name, parameter in inspect.signature(model).parameters.items()
        if parameter.default is None or isinstance(parameter.default, bool | int | float | str | tuple)
    }
    unknown = sorted(set(options) - plain)
    if unknown:
        raise ValueError(f"no option {unknown[0]!r}; known are {', '.join(sorted(plain))}")
    return dict(options)


MODELS: Mapping[str, Builder] = {
    "alsa-microphone": _microphone(AlsaMicrophone),
    "configfs-tsm": _confidential_vm,
    "ef01": _ef01,
    "live-microphone": _microphone(LiveAlsaMicrophone),
    "nb1010": _usb("nb1010", Nb1010Model),
    "network-camera": _network_camera,
    "pulse-microphone": _microphone(PulseMicrophone),
    "softhsm": _token,
    "tpm": _tpm,
    "uru4000": _usb("uru4000", Uru4000Model),
}
