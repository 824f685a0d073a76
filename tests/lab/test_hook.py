from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulators.lab import hook


@dataclass
class Answering:
    """A station that answers every line with `answer`, and notes what it was asked."""

    path: str
    answer: bytes = b'{"ok": true, "present": true}\n'
    asked: list[object] = field(default_factory=list)


@pytest.fixture
def station() -> Iterator[Answering]:
    with tempfile.TemporaryDirectory(prefix="kv-") as folder:
        made = Answering(os.fspath(Path(folder) / "control"))

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                made.asked.append(json.loads(self.rfile.readline()))
                self.wfile.write(made.answer)

        with socketserver.ThreadingUnixStreamServer(made.path, Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            yield made
            server.shutdown()
            thread.join()


def run(*arguments: str, message: str = '{"kind": "summons"}') -> subprocess.CompletedProcess[str]:
    """The hook as an agent runs it: isolated, without site packages."""
    argv = [sys.executable, "-I", "-S", hook.__file__, *arguments]
    return subprocess.run(argv, input=message, capture_output=True, text=True, check=False, timeout=20)


def test_the_answer_comes_back(station: Answering) -> None:
    assert hook.ask(station.path, {"op": "ping"}) == {"ok": True, "present": True}
    assert station.asked == [{"op": "ping"}]


def test_a_long_answer_is_read_whole(station: Answering) -> None:
    station.answer = json.dumps({"text": "x" * 200_000}).encode() + b"\n"
    assert len(str(hook.ask(station.path, {"op": "ping"})["text"])) == 200_000


def test_an_answer_that_breaks_off_is_an_error(station: Answering) -> None:
    station.answer = b'{"ok": tr'
    with pytest.raises(ConnectionError):
        hook.ask(station.path, {"op": "ping"})


@pytest.mark.parametrize(("answer", "status"), [("true", 0), ("false", 1)])
def test_the_status_tells_whether_somebody_does_it(station: Answering, answer: str, status: int) -> None:
    station.answer = f'{{"ok": true, "present": {answer}}}\n'.encode()
    assert run(station.path).returncode == status
    assert station.asked == [{"op": "hear", "message": {"kind": "summons"}}]


def test_a_refusal_counts_as_nobody(station: Answering) -> None:
    station.answer = b'{"ok": false, "error": "KeyError"}\n'
    assert run(station.path).returncode == 1


@pytest.mark.parametrize("message", ["", "no JSON"])
def test_a_message_that_is_no_json_is_an_error(station: Answering, message: str) -> None:
    done = run(station.path, message=message)
    assert (done.returncode, station.asked) == (2, [])
    assert done.stderr.startswith("hook: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("/absent/control",)])
def test_a_station_that_is_not_there_is_an_error(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("hook: ")
    assert "Traceback" not in done.stderr
