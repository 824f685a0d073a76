"""What the drivers need of the operating system, and the line that installs what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ctypes.util import find_library
from dataclasses import dataclass

from agent.diagnostics.machine import Machine


@dataclass(frozen=True)
class Missing:
    """Something that is not installed: `name`, what it is for, and the line that mends it."""

    name: str
    purpose: str
    remedy: str


@dataclass(frozen=True)
class _Library:
    name: str
    purpose: str
    package: str


_LIBRARIES = (
    _Library("usb-1.0", "fingerprint readers on USB (uru4000, nb1010)", "libusb-1.0-0"),
    _Library("portaudio", "microphones (portaudio)", "libportaudio2"),
    _Library("tss2-esys", "TPM 2.0 (tpm2)", "libtss2-esys-3.0.2-0"),
    _Library("tss2-tcti-device", "TPM 2.0 (tpm2)", "libtss2-tcti-device0"),
)
_FPRINTD = "/usr/share/dbus-1/system-services/net.reactivated.Fprint.service"


def missing(machine: Machine, find: Callable[[str], str | None] = find_library) -> list[Missing]:
    """What is not installed; `find` gives a library's file name, or `None`."""
    return [*_libraries(find), *_services(machine)]


def _libraries(find: Callable[[str], str | None]) -> Iterator[Missing]:
    for library in _LIBRARIES:
        if find(library.name) is None:
            yield Missing(f"lib{library.name}", library.purpose, f"sudo apt-get install {library.package}")


def _services(machine: Machine) -> Iterator[Missing]:
    if not machine.path(_FPRINTD).exists():
        purpose = "every other fingerprint reader, as weak evidence (fprintd)"
        yield Missing("fprintd", purpose, "sudo apt-get install fprintd")
