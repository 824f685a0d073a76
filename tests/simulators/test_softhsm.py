"""The simulated token and folder: what befalls them, seen by another program than the driver."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hal import PermissionDenied
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.softhsm import SoftHsm
from simulators.devices.software_folder import SoftwareFolder


@pytest.fixture
def token(tmp_path: Path) -> Iterator[SoftHsm]:
    if not shutil.which("softhsm2-util"):
        pytest.skip("no software token: apt-get install softhsm2")
    with SoftHsm(tmp_path / "token", "a label") as made:
        yield made


def shown(token: SoftHsm) -> str:
    """What softhsm2-util says of the store."""
    done = subprocess.run(
        ["softhsm2-util", "--show-slots"],
        env={**os.environ, **token.environment()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_a_token_is_there_with_its_label_and_a_private_pin(token: SoftHsm):
    assert "a label" in shown(token)
    assert token.pin_file.stat().st_mode & 0o777 == 0o600
    assert len(token.pin_file.read_text().strip()) == 8


def test_an_unplugged_token_is_gone_until_it_is_mended(token: SoftHsm):
    token.inject(FaultOrder(Fault.UNPLUG))
    assert "a label" not in shown(token)
    token.mend()
    assert "a label" in shown(token)


def test_every_fault_leaves_the_store_as_it_was_once_mended(token: SoftHsm):
    store = token.pin_file.parent / "tokens"
    content = lambda: {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}  # noqa: E731
    before = content()
    for fault in token.faults:
        token.inject(FaultOrder(fault, rate=0.5))
        token.mend()
        assert content() == before, fault
    with pytest.raises(ValueError, match="cannot play"):
        token.inject(FaultOrder(Fault.RESET))


def test_a_stall_ends_with_its_process(token: SoftHsm):
    token.inject(FaultOrder(Fault.STALL))
    processes = [*token._stalling]
    assert processes and all(each.poll() is None for each in processes)
    token.close()
    assert all(each.poll() is not None for each in processes)


def test_the_faults_of_a_folder_leave_it_as_it_was_once_mended(tmp_path: Path):
    device = SoftwareFolder(tmp_path / "folder")
    device.folder.mkdir(mode=0o700)
    (device.folder / "file").write_bytes(bytes(100))
    for fault in sorted(device.faults):
        try:
            device.inject(FaultOrder(fault, rate=0.0))
        except PermissionDenied as error:
            pytest.skip(str(error))
        if fault is Fault.CORRUPT:
            assert (device.folder / "file").read_bytes() != bytes(100), "at least one byte is spoilt"
        elif fault is Fault.UNPLUG:
            assert not device.folder.exists()
        elif fault is Fault.NV_FULL:
            with pytest.raises(OSError, match="No space"), (device.folder / "more").open("wb", buffering=0) as file:
                file.write(bytes(8192))
        device.mend()
        assert (device.folder / "file").read_bytes() == bytes(100)
        assert device.folder.stat().st_uid == os.geteuid()
    assert str(device.folder) not in Path("/proc/mounts").read_text()
