from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from simulators.devices.swtpm import SwtpmFactory
from simulators.lab import hook
from simulators.lab.control import ControlServer
from simulators.lab.hook import CONTROL_SOCKET
from simulators.lab.ports import free_port
from simulators.lab.processes import LabError
from simulators.lab.station import Station, StationConfig, StreamLens, personas_of
from simulators.personas import Asked

PEOPLE = ["persona-a", "persona-b", "persona-c", "persona-d"]
LOOK = {"kind": "present", "purpose": "challenge", "step": "face", "action": "look"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short path, because sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="kv-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def station(folder: Path) -> Iterator[Station]:
    """A station of simulated devices, with its control socket."""
    state = SwtpmFactory(folder / "tpm").manufacture("t")
    config = StationConfig(
        folder=os.fspath(folder), tpm_state=os.fspath(state.path), serial="SIM-t", camera_port=free_port()
    )
    with ExitStack() as stack:
        made = Station(config, stack)
        server = stack.enter_context(ControlServer(folder / CONTROL_SOCKET, made))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield made


def test_the_endpoints_name_every_device(station: Station) -> None:
    found = station.endpoints
    assert found.pid == os.getpid()
    assert found.tcti.startswith("swtpm:path=")
    assert found.usbip.startswith("127.0.0.1:")
    assert found.camera.startswith("http://127.0.0.1:")
    assert found.personas == PEOPLE
    assert Path(found.environment["ALSA_CONFIG_PATH"]).is_file()


def test_the_control_socket_is_private(station: Station, folder: Path) -> None:
    assert stat.S_IMODE((folder / CONTROL_SOCKET).stat().st_mode) == 0o600


def ask(folder: Path, **command: Any) -> dict[str, object]:
    return hook.ask(os.fspath(folder / CONTROL_SOCKET), command, timeout=20)


def test_a_person_is_sent_and_answers(station: Station, folder: Path) -> None:
    assert ask(folder, op="send", person=None) == {"ok": True}
    assert ask(folder, op="hear", message=LOOK) == {"ok": True, "present": False}
    assert ask(folder, op="send", person="persona-a", care=0.5) == {"ok": True}
    assert ask(folder, op="hear", message=LOOK) == {"ok": True, "present": True}
    assert ask(folder, op="send", person=None) == {"ok": True}


@pytest.mark.parametrize(
    "command",
    [
        {},
        {"op": "dance"},
        {"op": ["send"]},
        {"op": "send"},
        {"op": "send", "person": "nobody"},
        {"op": "send", "person": {}},
        {"op": "send", "person": None, "delay_s": "soon"},
        {"op": "hear"},
        {"op": "hear", "message": 1},
    ],
)
def test_a_wrong_command_is_answered_with_its_error(station: Station, folder: Path, command: dict[str, Any]) -> None:
    answer = ask(folder, **command)
    assert answer["ok"] is False
    assert answer["error"]
    assert ask(folder, op="ping") == {"ok": True}


@pytest.mark.parametrize(
    "line", [b"no json", b"[1]", b"\xff\x00", b"[" * 20_000], ids=["text", "list", "bytes", "deep"]
)
def test_a_line_that_is_no_command_is_answered_too(station: Station, folder: Path, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(os.fspath(folder / CONTROL_SOCKET))
        link.sendall(line + b"\n" + b'{"op": "ping"}\n')
        answers = link.makefile("rb")
        assert json.loads(answers.readline())["ok"] is False
        assert json.loads(answers.readline()) == {"ok": True}


def test_an_empty_folder_of_samples_has_nobody(tmp_path: Path) -> None:
    assert list(personas_of(None)) == PEOPLE
    with pytest.raises(LabError) as caught:
        personas_of(os.fspath(tmp_path))
    assert caught.value.remedy


class Scene:
    """A camera stream by hand: its clock, and what was put before it."""

    def __init__(self) -> None:
        self.clock = self
        self.now = 0.0

    def monotonic_ns(self) -> int:
        return round(self.now * 1e9)

    def show(self, source: Any) -> None:
        self.source = source


def test_whoever_is_challenged_hears_gestures_and_does_them() -> None:
    scene, persona = Scene(), personas_of(None)["persona-a"]
    lens = StreamLens(scene)  # type: ignore[arg-type]
    lens.watch(persona, 1.0, take=3)
    scene.now = 1.0
    lens.ask("tilt-left")
    asked = [Asked("tilt-left", 1.0)]
    assert (scene.source(2.2) == persona.perform(2.2, asked, 3)).all()
    assert (scene.source(2.2) != persona.perform(2.2, [], 3)).any()


def test_whoever_is_enrolled_just_looks() -> None:
    scene, persona = Scene(), personas_of(None)["persona-a"]
    lens = StreamLens(scene)  # type: ignore[arg-type]
    lens.watch(persona, 0.5)
    lens.ask("tilt-left")
    assert (scene.source(2.2) == persona.frame(2.2, 0.5)).all()
