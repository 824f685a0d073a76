from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.diagnostics import watching
from agent.diagnostics.inventory import change_line
from agent.diagnostics.watching import Change, watch_all
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import serve_usbip
from tests.agent.diagnostics.trees import Tree

PATIENCE_S = 30


def test_a_reader_that_comes_and_goes_is_told(tmp_path: Path) -> None:
    """Through the shipped driver and hal's own watch."""
    model = Uru4000Model(serial="SIM-W", instant=True)
    server = serve_usbip([model])
    options = {"uru4000": {"usbip": f"{server.host}:{server.port}"}}
    mine = (change for change in watch_all(options, PATIENCE_S, Tree(tmp_path).machine) if change.driver == "uru4000")
    try:
        come = next(mine)
        assert (come.arrived, come.error) == (True, False)
        assert "SIM-W" in come.text
        model.inject(FaultOrder(Fault.UNPLUG))
        gone = next(mine)
        assert (gone.arrived, gone.error) == (False, False)
        model.mend()
        assert next(mine).arrived
    finally:
        mine.close()
        server.close()


def test_a_driver_that_cannot_look_is_told_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """However often it is tried again."""
    monkeypatch.setattr(watching, "RETRY_S", 0.01)
    options = {"uru4000": {"nosuch": True}}
    mine = [each for each in watch_all(options, 1.0, Tree(tmp_path).machine) if each.driver == "uru4000"]
    assert [(each.error, "nosuch" in each.text) for each in mine] == [(True, True)]


def test_a_device_without_a_driver_is_told_once_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.02)
    tree = Tree(tmp_path)
    tree.usb("1-1", "1b3f", "0001", "Webcam")
    tree.interface("1-1", "0e")
    changes = (change for change in watch_all({}, PATIENCE_S, tree.machine) if change.bus == "usb")
    come = next(changes)
    assert come.arrived
    assert "Webcam" in come.text
    (tmp_path / "sys/bus/usb/devices/1-1/idVendor").unlink()
    gone = next(changes)
    assert not gone.arrived
    changes.close()


def test_a_watch_ends_in_time(tmp_path: Path) -> None:
    assert [change for change in watch_all({}, 0.05, Tree(tmp_path).machine) if change.bus] == []


@pytest.mark.parametrize(
    ("change", "sign", "event"),
    [
        (Change(1.0, True, "cam\x1b[2J", driver="opencv"), "+", "arrived"),
        (Change(1.0, False, "cam", driver="opencv"), "-", "left"),
        (Change(1.0, False, "no server", driver="uru4000", error=True), "!", "error"),
    ],
)
def test_changes_as_text_and_as_json(change: Change, sign: str, event: str) -> None:
    line = change_line(change).plain
    assert line.startswith(f"{sign} {change.driver}")
    assert line.isprintable()
    assert json.loads(json.dumps(change.plain()))["event"] == event
