"""The infrared half of a laptop's camera: found by its formats, opened beside the other, its strobe told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from agent.biometrics.liveness.infrared import read_pair
from agent.config import parse_config
from agent.devices import Devices
from agent.diagnostics import Finding, Severity, sensors
from agent.diagnostics.targets import WITHOUT_INFRARED, configured_targets
from hal import Deadline, NotFound, PermissionDenied, Unsupported, available_drivers
from tests.agent.people import modalities
from tests.agent.test_config import COMPLETE
from tests.drivers.camera_rigs import HEIGHT, WIDTH, soon, v4l2


def devices(source: str, more: str = "", driver: str = "opencv") -> Devices:
    return Devices(parse_config((COMPLETE + section(source, more, driver)).encode()), modalities())


def section(source: str, more: str = "", driver: str = "opencv") -> str:
    options = f'{{ source = "{source}", width = {WIDTH}, height = {HEIGHT} }}' if driver == "opencv" else "{}"
    pin = available_drivers()[driver].sha256
    return f'\n[infrared]\ndriver = "{driver}"\nsha256 = "{pin}"\noptions = {options}\n{more}'


def flat(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


@pytest.mark.parametrize("fourcc", ["GREY", "Y10 ", "Y16 "])
def test_v4l2_lit_and_dark_frames_make_a_pair(fourcc: str) -> None:
    numbers = itertools.count()
    with v4l2(fourcc) as (_, bed):
        bed.camera.show(lambda _: flat(30 + 120 * (next(numbers) % 2)))
        second = devices(bed.node).open_infrared(soon())
        assert second is not None and second.strobe
        with second.camera as camera:
            pair = read_pair(lambda: camera.read(soon()))
    assert (round(float(pair.lit.bgr.mean())), round(float(pair.dark.bgr.mean()))) == (150, 30)


def test_v4l2_a_strobe_that_is_not_there_can_be_said() -> None:
    with v4l2("GREY") as (_, bed):
        second = devices(bed.node, "strobe = false\n").open_infrared(soon())
        assert second is not None and not second.strobe
        second.camera.close()


def test_v4l2_a_camera_that_sees_colour_is_refused_as_infrared_and_let_go() -> None:
    with v4l2("YUYV") as (rig, bed):
        with pytest.raises(Unsupported, match="sees colour") as caught:
            devices(bed.node).open_infrared(soon())
        assert "[infrared]" in caught.value.remedy
        rig.open().close()


def test_v4l2_a_camera_that_is_not_there_is_told() -> None:
    with pytest.raises(NotFound):
        devices("/dev/video9").open_infrared(soon())


def test_v4l2_it_is_told_by_the_same_words_when_a_node_joins_and_when_it_looks_on() -> None:
    with v4l2("GREY") as (rig, bed):
        named = devices(bed.node)
        second = named.open_infrared(soon())
        assert second is not None
        with second.camera as camera:
            looking = named.infrared_identity_of(camera)
        assert named.infrared(soon()) == looking
        assert looking.driver_sha256 == available_drivers()["opencv"].sha256
        rig.open().close()


def test_v4l2_another_infrared_camera_is_not_taken_for_the_one_that_is_named() -> None:
    with v4l2("GREY"), pytest.raises(NotFound):
        devices("/dev/video9").infrared(soon())


def diagnosed(source: str) -> dict[str, Finding]:
    config = parse_config((COMPLETE + section(source)).encode())
    target = next(target for target in configured_targets(config) if target.name == "infrared")
    found = sensors.examine(target, Deadline.after(30), lambda _: None, attended=False)
    return {finding.id: finding for finding in found}


def test_v4l2_a_diagnosis_tests_the_second_camera_by_itself() -> None:
    numbers = itertools.count()
    with v4l2("GREY") as (_, bed):
        bed.camera.show(lambda _: flat(30 + 120 * (next(numbers) % 2)))
        found = diagnosed(bed.node)
    assert found["device.usable"].severity is Severity.OK
    assert found["infrared.strobe"].severity is Severity.OK
    assert {finding.subject for finding in found.values()} == {"infrared (opencv)"}


def test_v4l2_a_diagnosis_says_what_a_missing_or_a_wrong_one_means() -> None:
    with v4l2("YUYV") as (_, bed):
        assert diagnosed(bed.node)["infrared.kind"].severity is Severity.ERROR
        missing = diagnosed("/dev/video9")["device.usable"]
    assert missing.severity is Severity.ERROR
    assert missing.remedy.endswith(WITHOUT_INFRARED)


def test_v4l2_another_kind_of_driver_is_no_camera() -> None:
    with pytest.raises(PermissionDenied, match="names it for infrared"):
        devices("", driver="logind-seat").open_infrared(soon())
