"""The control socket of a lab: one JSON object a line each way."""

from __future__ import annotations

import json
import os
import socketserver
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol


class Obeys(Protocol):
    """Whatever takes commands."""

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command; the answer has `ok`, and `error` where it is false."""
        ...


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Takes commands on a UNIX socket of mode 0600; one that was left behind at `path` is replaced."""

    daemon_threads = True

    def __init__(self, path: Path, obeys: Obeys) -> None:
        self.obeys = obeys
        path.unlink(missing_ok=True)
        previous = os.umask(0o177)
        try:
            super().__init__(os.fspath(path), _Handler)
        finally:
            os.umask(previous)


class _Handler(socketserver.StreamRequestHandler):
    server: ControlServer

    def handle(self) -> None:
        with suppress(OSError):  # a hook that was stopped reads no answer
            for line in self.rfile:
                self.wfile.write(json.dumps(self.server.obeys.obey(_command(line))).encode() + b"\n")


def _command(line: bytes) -> dict[str, Any]:
    """The JSON object in a line, or an empty one."""
    try:
        command = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return command if isinstance(command, dict) else {}
