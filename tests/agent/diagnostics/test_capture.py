from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from agent.config import Config
from agent.devices import DeviceReport
from agent.diagnostics.capture import Captured, check_target, choose, store
from agent.errors import ConfigError, StateError
from hal import DeviceInfo, DeviceKind, NotFound, PermissionDenied, Transport, Unsupported, available_drivers
from tests.agent.diagnostics.test_host import config as bare_config

PICTURE = np.zeros((2, 2), np.uint8)


def config(state: Path) -> Config:
    sha256 = available_drivers()["opencv"].sha256
    more = f'[devices.face]\ndriver = "opencv"\nsha256 = "{sha256}"\n[presentation]\nminimum_modalities = 1'
    return bare_config(state, more)


def test_the_configured_device_of_the_kind_is_chosen(tmp_path: Path) -> None:
    assert choose("camera", config(tmp_path), []).name == "face"


def test_without_a_configuration_the_first_that_is_there(tmp_path: Path) -> None:
    info = DeviceInfo(DeviceKind.CAMERA, "opencv", Transport.V4L2, "/dev/video0")
    reports = [DeviceReport("uru4000", "0" * 64, ()), DeviceReport("opencv", "0" * 64, (info,))]
    assert choose("camera", None, reports).driver == "opencv"


def test_a_kind_that_is_not_there_or_not_known_or_without_a_picture(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no microphone"):
        choose("microphone", None, [])
    with pytest.raises(PermissionDenied, match="'tpm2'"):
        choose("microphone", config(tmp_path), [])
    with pytest.raises(ConfigError, match="'retina'"):
        choose("retina", config(tmp_path), [])
    info = DeviceInfo(DeviceKind.ENCLAVE, "tpm2", Transport.TPM, "x")
    with pytest.raises(Unsupported, match="no picture") as refusal:
        choose("enclave", None, [DeviceReport("tpm2", "0" * 64, (info,))])
    assert "fingerprint" in refusal.value.remedy


def test_files_for_a_capture(tmp_path: Path) -> None:
    assert check_target(tmp_path / "a.png", "camera", None) == [tmp_path / "a.png"]
    assert check_target(tmp_path / "a.wav", "microphone", None) == [tmp_path / "a.wav", tmp_path / "a.png"]


def test_a_file_that_is_there_is_refused_and_so_is_its_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for kind, name in (("camera", "a.png"), ("microphone", "a.wav")):
        with pytest.raises(ConfigError, match="there already"):
            check_target(tmp_path / name, kind, None)


def test_a_dangling_link_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there already"):
        check_target(tmp_path / "a.png", "camera", None)


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.wav"])
def test_a_file_of_another_form_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"stored as \.png"):
        check_target(tmp_path / name, "camera", None)


def test_the_state_directory_never_takes_a_capture(tmp_path: Path) -> None:
    """Nor does a folder within it, nor a link to it."""
    state = tmp_path / "state"
    (state / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(state)
    for folder in (state, state / "deep", tmp_path / "link", state / "deep" / ".." / "deep"):
        with pytest.raises(ConfigError, match="state directory"):
            check_target(folder / "a.png", "camera", config(state))
    check_target(tmp_path / "a.png", "camera", config(state))


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store([tmp_path / "a.png"], Captured({".png": b"picture"}, PICTURE, {}))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o600
    assert (tmp_path / "a.png").read_bytes() == b"picture"


def test_when_the_second_file_cannot_be_made_the_first_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"mine")
    with pytest.raises(StateError):
        store([tmp_path / "a.wav", tmp_path / "a.png"], Captured({".wav": b"1", ".png": b"2"}, PICTURE, {}))
    assert not (tmp_path / "a.wav").exists()
    assert (tmp_path / "a.png").read_bytes() == b"mine"
