"""Testing one device through its driver: opening, capabilities, and a capture that becomes numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from agent.diagnostics import camera, fingerprint, infrared, microphone
from agent.diagnostics.findings import Finding, Severity
from agent.diagnostics.running import Note
from agent.diagnostics.targets import Target
from hal import (
    Camera,
    Capability,
    Deadline,
    Device,
    DeviceError,
    DeviceKind,
    FingerprintReader,
    Microphone,
    TimedOut,
    Transport,
)

FINGER_S = 20.0
LIFT_S = 5.0
SENSOR_S = 15.0
"""Opening and measuring, a person's slowness apart."""

VIRTUAL = "simulated: the authority takes it on nodes that are marked `lab` only"
_INSTALL = "Install the package of this driver, for example `pip install 'keyvigil[agent]'`."


def examine(target: Target, deadline: Deadline, note: Note, *, attended: bool) -> Iterator[Finding]:
    """Everything that can be said of one sensor; `attended` tells whether a person is there to put a finger.

    An error of the driver is a finding and ends the test; the device is released on every path.
    """
    subject = target.subject
    try:
        kind = target.kind()
        with target.open(deadline.within(SENSOR_S)) as device:
            yield from _described(device, subject)
            if target.strobe is None:
                yield from _captured(kind, device, subject, deadline, note, attended=attended)
            else:
                second = cast(Camera, device)
                frames = camera.pictures(second, deadline.within(SENSOR_S))
                yield from infrared.examine(second, frames, subject, strobe=target.strobe)
    except DeviceError as error:
        remedy = error.remedy if target.strobe is None else infrared.remedy_of(error)
        yield Finding("device.usable", Severity.ERROR, str(error), remedy, subject)
    except ImportError as error:
        yield Finding("device.usable", Severity.ERROR, f"a library is missing: {error.name}", _INSTALL, subject)
    if target.others:
        ports = ", ".join(info.port for info in target.others)
        remedy = "Name the device in a configuration, and pass it by --config, to test another one."
        yield Finding("device.others", Severity.INFO, f"not tested: {ports}", remedy, subject)


def _described(device: Device, subject: str) -> Iterator[Finding]:
    info = device.info
    abilities = ", ".join(sorted(info.capabilities)) or "no special capabilities"
    identity = f"{info.vendor_id}:{info.product_id}".strip(":")
    what = f"{info.name or info.kind} at {info.port}, {info.transport}: {abilities}"
    facts = {"port": info.port, "transport": info.transport.value, "identity": identity, "serial": info.serial}
    yield Finding("device.usable", Severity.OK, what, subject=subject, facts=facts)
    if info.transport is Transport.VIRTUAL:
        yield Finding("device.virtual", Severity.INFO, VIRTUAL, subject=subject)


def _captured(
    kind: str, device: Device, subject: str, deadline: Deadline, note: Note, *, attended: bool
) -> Iterator[Finding]:
    match kind:
        case DeviceKind.CAMERA:
            frames = camera.pictures(cast(Camera, device), deadline.within(SENSOR_S))
            yield from camera.judge(camera.measure(frames), subject)
        case DeviceKind.MICROPHONE:
            blocks = microphone.record(cast(Microphone, device), deadline.within(SENSOR_S))
            yield from microphone.judge(microphone.measure(blocks), subject)
        case DeviceKind.FINGERPRINT:
            yield from _finger(device, subject, deadline, note, attended=attended)
        case _:
            what = f"a device of kind {kind} opens; how well it senses is not tested"
            yield Finding("device.untested", Severity.INFO, what, subject=subject)


def _finger(device: Device, subject: str, deadline: Deadline, note: Note, *, attended: bool) -> Iterator[Finding]:
    if Capability.IMAGE not in device.info.capabilities:
        what = "the reader compares by itself and gives no picture: weak evidence"
        yield Finding("fingerprint.image", Severity.INFO, what, subject=subject)
        return
    if not attended:
        what = "no picture was taken, because nobody is there to place a finger"
        yield Finding("fingerprint.image", Severity.INFO, what, "Run the diagnosis at the machine.", subject)
        return
    reader = cast(FingerprintReader, device)
    try:
        image = reader.capture(deadline.within(FINGER_S), lambda: note(fingerprint.PLACE))
    except TimedOut:
        what = f"no finger was felt within {FINGER_S:.0f} s"
        remedy = "Place a finger when asked; if one lay there, clean the glass and replug the reader."
        yield Finding("fingerprint.finger", Severity.WARNING, what, remedy, subject)
        return
    yield from fingerprint.judge(fingerprint.measure(image), subject)
    yield from _lifted(reader, subject, deadline, note)


def _lifted(reader: FingerprintReader, subject: str, deadline: Deadline, note: Note) -> Iterator[Finding]:
    note(fingerprint.LIFT)
    try:
        reader.wait_removed(deadline.within(LIFT_S))
    except TimedOut:
        what = "the reader still feels a finger after it was to be lifted"
        yield Finding("fingerprint.lifted", Severity.WARNING, what, "Lift the finger, and clean the glass.", subject)
