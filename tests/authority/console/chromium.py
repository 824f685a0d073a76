"""Chromium without a screen, driven by its DevTools protocol over a WebSocket."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 45.0
"""Pages take well under a second; a machine that is busy with other things may take this."""
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
PROGRAM = shutil.which("chromium")
NEEDED = pytest.mark.skipif(PROGRAM is None, reason="no browser: apt-get install chromium")
"""On every module that opens one: it is said before a fleet is made for it."""
WIDE = (1280, 900)
MOST_TABS = 300
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class Tab:
    """One page; `complaints` is what the browser said of it: errors, warnings, violations of its security policy."""

    socket: ClientConnection
    session: str = ""
    number: int = 0
    loads: int = 0
    complaints: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        answer = self._answer(method, parameters)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def _answer(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                return answer

    def go(self, url: str) -> None:
        loads = self.loads
        self.call("Page.navigate", url=url)
        self.wait_for_load(loads)

    def wait_for_load(self, loads: int) -> None:
        while self.loads == loads:
            self._next()
        self.settle()

    def settle(self) -> None:
        """Wait until the page was drawn once more.

        Only then has the focus gone where `autofocus` or a fragment sends it: that is part of updating the rendering,
        which may be after the load (HTML, section 8.1.7.3). A page that was left meanwhile has nothing to wait for.
        """
        self._answer("Runtime.evaluate", {"expression": DRAWN, "awaitPromise": True})

    def value(self, expression: str) -> Any:
        """What a script gives; a promise is waited for."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, *, leads_on: bool = False) -> None:
        """A key, with what it does; with `leads_on` to another page, which is waited for."""
        loads = self.loads
        known = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"Enter": {"text": "\r"}, " ": {"text": " "}}.get(key, {})
        self.call("Input.dispatchKeyEvent", type="keyDown", **known, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)
        if leads_on:
            self.wait_for_load(loads)
        elif text:
            self.settle()

    def write(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def tab_to(self, wanted: str) -> None:
        """Tab until a script's condition holds of the focused element, `it`; at most once around the page."""
        for _ in range(MOST_TABS):
            if self.value(f"((it) => {wanted})(document.activeElement)"):
                return
            self.press("Tab")
        pytest.fail(f"no element that Tab reaches fulfils {wanted}")

    def size(self, width: int, height: int) -> None:
        """The window's inside, CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, **features: str) -> None:
        """What the reader's system wishes: `color_scheme="dark"`, `reduced_motion="reduce"`."""
        given = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=given)

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _next(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.socket.recv(PATIENCE_S))
        given = answer.get("params", {})
        match answer.get("method"):
            case "Page.loadEventFired":
                self.loads += 1
            case "Log.entryAdded":
                self.complaints.append(f"{given['entry']['level']}: {given['entry']['text']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(given["exceptionDetails"]["text"])
            case "Runtime.consoleAPICalled" if given["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str(given["args"]))
            case "Audits.issueAdded":
                self.complaints.append(json.dumps(given["issue"])[:400])
        return answer


@contextmanager
def open_tab(folder: Path) -> Iterator[Tab]:
    """A page of a browser of its own, which takes any certificate."""
    assert PROGRAM is not None
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
    looks = ("--hide-scrollbars", "--lang=en", f"--window-size={WIDE[0]},{WIDE[1]}")
    more = ("--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0", "about:blank")
    command = [PROGRAM, *options, *looks, f"--user-data-dir={folder}", *more]
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **nowhere, env=os.environ | {"TZ": "UTC"}) as process:
        try:
            with connect(_address(folder, process), proxy=None, max_size=None, open_timeout=PATIENCE_S) as socket:
                yield _attached(socket)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    file, end = folder / "DevToolsActivePort", time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.1)
    pytest.fail(f"chromium did not start (status {process.poll()})")


def _attached(socket: ClientConnection) -> Tab:
    tab = Tab(socket)
    target = tab.call("Target.createTarget", url="about:blank")["targetId"]
    tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Security", "Audits"):
        tab.call(f"{domain}.enable")
    tab.call("Security.setIgnoreCertificateErrors", ignore=True)
    tab.size(*WIDE)
    return tab
