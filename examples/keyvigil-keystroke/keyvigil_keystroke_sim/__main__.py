"""Serve a simulated keyboard: `python -m keyvigil_keystroke_sim FOLDER`.

The keyboard is at `FOLDER/keyboard`. `FOLDER/keyboard.control` is a UNIX socket that takes one JSON object a line:
`{"op": "send", "typist": NAME or null}` says who types from now on, `{"op": "hear", "message": {…}}` what the agent's
prompt said; the answer has `present`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socketserver
import sys
import threading
from pathlib import Path
from typing import Any

from keyvigil_keystroke_sim.keyboard import SimulatedKeyboard
from keyvigil_keystroke_sim.typist import Typist

_SHOWN = re.compile(r": (.*) and press Enter")


class Desk:
    """The keyboard, and whoever sits at it."""

    def __init__(self, keyboard: SimulatedKeyboard) -> None:
        self._keyboard = keyboard
        self._typist: Typist | None = None
        self._repetition = 0

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order."""
        match order:
            case {"op": "send", "typist": str() | None as name}:
                self._typist = None if name is None else Typist(name)
            case {"op": "hear", "message": {"action": "type", "instruction": str() as instruction}}:
                return {"ok": True, "present": self._type(instruction)}
            case {"op": "hear"}:
                return {"ok": True, "present": self._typist is not None}
            case _:
                return {"ok": False}
        return {"ok": True}

    def _type(self, instruction: str) -> bool:
        shown = _SHOWN.search(instruction)
        if self._typist is None or shown is None:
            return False
        self._repetition += 1
        self._keyboard.type(self._typist.type(shown[1], self._repetition))
        return True


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        desk: Desk = self.server.desk  # type: ignore[attr-defined]
        for line in self.rfile:
            self.wfile.write(json.dumps(desk.obey(json.loads(line))).encode() + b"\n")


class _Server(socketserver.UnixStreamServer):
    def __init__(self, path: Path, desk: Desk) -> None:
        self.desk = desk
        path.unlink(missing_ok=True)
        super().__init__(os.fspath(path), _Handler)


def main(folder: Path) -> None:
    """Serve until SIGTERM."""
    with (
        SimulatedKeyboard(folder / "keyboard") as keyboard,
        _Server(folder / "keyboard.control", Desk(keyboard)) as server,
    ):
        stop = threading.Thread(target=server.shutdown)
        signal.signal(signal.SIGTERM, lambda *_: stop.start())
        server.serve_forever(0.1)
        stop.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
