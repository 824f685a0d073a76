"""Each sensor's test through the shipped driver, on a simulated device at the other end of its wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from agent.devices import DeviceReport
from agent.diagnostics import Finding, Severity, fingerprint, sensors
from agent.diagnostics.sensors import FINGER_S
from agent.diagnostics.targets import Target, found_targets
from hal import Deadline, DeviceInfo, DeviceKind, FingerprintImage, Transport
from simulators.devices.camera_stream import CameraStream
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import UsbipServer, serve_usbip
from simulators.personas import shipped_personas


def examine(target: Target, *, attended: bool, note: threading.Event | None = None) -> dict[str, Finding]:
    def heard(text: str) -> None:
        if note is not None and text == fingerprint.PLACE:
            note.set()

    found = sensors.examine(target, Deadline.after(60), heard, attended=attended)
    return {finding.id: finding for finding in found}


@pytest.fixture
def reader() -> Iterator[tuple[Uru4000Model, UsbipServer]]:
    model = Uru4000Model(serial="SIM-1", instant=True)
    server = serve_usbip([model])
    yield model, server
    server.close()


def usb(server: UsbipServer) -> Target:
    return Target("fingerprint", "uru4000", {"usbip": f"{server.host}:{server.port}"})


def test_a_finger_that_is_placed_when_asked_is_measured(
    reader: tuple[Uru4000Model, UsbipServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "LIFT_S", 0.2)
    model, server = reader
    asked = threading.Event()

    def person() -> None:
        assert asked.wait(20)
        model.place(*shipped_personas()[0].finger(0))

    helper = threading.Thread(target=person)
    helper.start()
    found = examine(usb(server), attended=True, note=asked)
    helper.join()
    image = found["fingerprint.image"]
    assert image.severity is Severity.OK
    assert image.facts["dpi"] == 512
    assert image.facts["covered"] > 0.25
    assert found["device.virtual"].severity is Severity.INFO
    assert found["fingerprint.lifted"].severity is Severity.WARNING, "the finger was left on the reader"


def test_nobody_is_asked_for_a_finger_when_nobody_is_there(reader: tuple[Uru4000Model, UsbipServer]) -> None:
    _, server = reader
    asked = threading.Event()
    found = examine(usb(server), attended=False, note=asked)
    assert not asked.is_set()
    assert found["device.usable"].severity is Severity.OK
    assert found["fingerprint.image"].severity is Severity.INFO


def test_a_finger_that_does_not_come_is_a_warning(
    reader: tuple[Uru4000Model, UsbipServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "FINGER_S", 0.2)
    found = examine(usb(reader[1]), attended=True)
    assert found["fingerprint.finger"].severity is Severity.WARNING
    assert found["fingerprint.finger"].remedy
    assert FINGER_S > 1


def test_the_reader_is_free_after_its_test(reader: tuple[Uru4000Model, UsbipServer]) -> None:
    for _ in range(2):
        assert examine(usb(reader[1]), attended=False)["device.usable"].severity is Severity.OK


def test_a_reader_that_is_not_there_is_an_error_with_a_remedy() -> None:
    found = examine(Target("fingerprint", "uru4000", {"usbip": "127.0.0.1:1"}), attended=True)
    assert found["device.usable"].severity is Severity.ERROR
    assert found["device.usable"].remedy


def test_a_driver_of_another_hash_is_not_loaded(reader: tuple[Uru4000Model, UsbipServer]) -> None:
    target = Target("fingerprint", "uru4000", usb(reader[1]).options, "0" * 64)
    found = examine(target, attended=False)
    assert list(found) == ["device.usable"]
    assert "pins" in found["device.usable"].what


def test_a_camera_is_measured_through_its_driver() -> None:
    noise = np.random.default_rng(1)
    with CameraStream(fps=20) as stream:
        stream.show(lambda _: noise.integers(0, 255, (480, 640, 3), dtype=np.uint8))
        found = examine(Target("face", "opencv", {"source": stream.url}), attended=False)
    frames = found["camera.frames"]
    assert (frames.facts["width"], frames.facts["height"]) == (640, 480)
    assert frames.facts["fps"] > 5
    assert {found[name].severity for name in found if name.startswith("camera.")} == {Severity.OK}


def test_a_covered_camera_is_an_error() -> None:
    with CameraStream(fps=20) as stream:
        stream.show(lambda _: np.zeros((480, 640, 3), np.uint8))
        found = examine(Target("face", "opencv", {"source": stream.url}), attended=False)
    assert found["camera.light"].severity is Severity.ERROR
    assert found["camera.still"].severity is Severity.WARNING


def test_a_camera_that_stalls_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensors, "SENSOR_S", 1.0)
    with CameraStream(fps=20) as stream:
        stream.stall()
        found = examine(Target("face", "opencv", {"source": stream.url}), attended=False)
    assert found["device.usable"].severity is Severity.ERROR
    assert "camera.frames" not in found


def test_further_devices_of_a_driver_are_named() -> None:
    infos = [DeviceInfo(DeviceKind.FINGERPRINT, "uru4000", Transport.USB, port) for port in ("1-1", "1-2", "1-3")]
    (target,) = found_targets([DeviceReport("uru4000", "0" * 64, tuple(infos)), DeviceReport("opencv", "0" * 64, ())])
    assert examine(target, attended=False)["device.others"].what == "not tested: 1-2, 1-3"


def test_an_impression_without_a_finger_is_not_taken_for_one() -> None:
    blank = FingerprintImage(np.full((290, 384), 250, np.uint8), 512, 1, 0)
    found = {each.id: each for each in fingerprint.judge(fingerprint.measure(blank), "fingerprint")}
    assert found["fingerprint.covered"].severity is Severity.WARNING
    assert fingerprint.measure(blank).covered == 0
