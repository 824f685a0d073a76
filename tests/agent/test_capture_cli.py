"""`keyvigil capture` as a process of its own: consent, private files, and a person who does not come."""

from __future__ import annotations

import io
import json
import os
import resource
import stat
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agent.commands.diag import save
from agent.diagnostics.fingerprint import PLACE
from agent.errors import StateError
from simulators.personas import shipped_personas
from tests.agent.diag_bench import CONSENT, PATIENCE_S, Bench, Captured, assert_refused, bench, more, terminal
from tests.agent.test_cli import assert_plain_error

__all__ = ["bench"]


def test_a_picture_that_finds_no_room_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StateError, match=r"r\.svg"):
            save(tmp_path / "r.svg", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    save(tmp_path / "r.svg", "x" * 10_000)
    assert (tmp_path / "r.svg").stat().st_size == 10_000


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["camera"], 2),
        (["retina", "--out", "new.png"], 2),
        (["fingerprint", "--out", "new.png", "--seconds", "0"], 2),
        (["fingerprint", "--out", "new.png", "--config", "/nonexistent.toml"], 2),
        (["fingerprint", "--out", "new.png"], 1),
        (["enclave", "--out", "new.png"], 1),
    ],
)
def test_bad_options_of_capture(capsys: Captured, tmp_path: Path, arguments: list[str], status: int) -> None:
    given = [str(tmp_path / word) if word == "new.png" else word for word in arguments]
    assert_refused(capsys, ["capture", *given, *CONSENT], status)
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_sits_a_capture_is_refused(bench: Bench) -> None:
    out = bench.folder / "face.png"
    done = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), "--i-have-consent")
    assert_plain_error(done, 1)
    assert not out.exists()


def test_without_consent_nothing_is_captured(bench: Bench) -> None:
    out = bench.folder / "face.png"
    done = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), "--unattended")
    assert_plain_error(done, 1, "nobody agreed", "--i-have-consent", "biometric data")
    assert not out.exists()


def test_a_camera_capture_is_a_private_picture(bench: Bench) -> None:
    out = bench.folder / "face.png"
    done = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), "--json", *CONSENT)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["width"], told["height"], told["files"]) == (320, 240, [str(out)])
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert Image.open(io.BytesIO(out.read_bytes())).size == (320, 240)
    again = bench.run("capture", "camera", "--out", str(out), "--config", bench.config(), *CONSENT)
    assert_plain_error(again, 2, "there already")


def test_a_microphone_capture_is_a_sound_and_its_picture(bench: Bench) -> None:
    out = bench.folder / "voice.wav"
    where = ["--out", str(out), "--config", bench.config(), "--seconds", "1"]
    done = bench.run("capture", "microphone", *where, *CONSENT)
    assert done.returncode == 0, done.stderr
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnframes()) == (16_000, 16_000)
        assert np.abs(np.frombuffer(file.readframes(16_000), "<i2")).max() > 1000
    plot = out.with_suffix(".png")
    assert Image.open(plot).size == (800, 416)
    assert {stat.S_IMODE(path.stat().st_mode) for path in (out, plot)} == {0o600}


def test_a_fingerprint_capture_waits_for_the_finger(bench: Bench) -> None:
    out = bench.folder / "finger.png"
    argv = ["capture", "fingerprint", "--out", str(out), "--config", bench.config(), "--json", *CONSENT]
    with subprocess.Popen(
        [sys.executable, "-m", "agent.cli", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            assert any(line.strip() == PLACE for line in process.stderr), "the person was never asked"
            bench.reader.place(*shipped_personas()[0].finger(0))
            stdout, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(stdout)["dpi"] == 512
    picture = Image.open(out)
    assert picture.size == (384, 290)
    assert round(picture.info["dpi"][0]) == 512


def test_a_finger_that_does_not_come_leaves_no_file(bench: Bench) -> None:
    out = bench.folder / "finger.png"
    where = ["--out", str(out), "--config", bench.config(), "--seconds", "0.3"]
    assert_plain_error(bench.run("capture", "fingerprint", *where, *CONSENT), 1, "did not finish before its deadline")
    assert not out.exists()


def test_the_state_directory_takes_no_capture(bench: Bench) -> None:
    bench.state.mkdir(mode=0o700)
    done = bench.run("capture", "camera", "--out", str(bench.state / "x.png"), "--config", bench.config(), *CONSENT)
    assert_plain_error(done, 2, "state directory")


def test_on_a_terminal_the_person_is_asked_and_the_picture_shown(bench: Bench) -> None:
    out = bench.folder / "face.png"
    argv = ["capture", "camera", "--out", str(out), "--config", bench.config(), "--unattended"]
    shown, status = on_a_terminal(argv, b"agreed?", b"y\n")
    assert status == 0, shown
    assert "▀" in shown.decode()
    assert out.exists()


@pytest.mark.slow
def test_a_person_who_says_no_is_not_captured(bench: Bench) -> None:
    out = bench.folder / "face.png"
    argv = ["capture", "camera", "--out", str(out), "--config", bench.config(), "--unattended"]
    shown, status = on_a_terminal(argv, b"agreed?", b"n\n")
    assert status == 1
    assert b"did not agree" in shown
    assert not out.exists()


def on_a_terminal(argv: list[str], question: bytes, answer: bytes) -> tuple[bytes, int]:
    """Everything shown, and the exit status; the question is answered once."""
    with terminal(argv, {}) as (process, screen):
        shown, answered = b"", False
        while part := more(screen):
            shown += part
            if question in shown and not answered:
                answered = True
                os.write(screen, answer)
        return shown, process.wait(PATIENCE_S)
