from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from simulators.lab.processes import Child, LabError, command, run
from simulators.lab.world import wait_for

PATIENT = "import signal; print('ready', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + PATIENT


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def child(tmp_path: Path, code: str) -> Child:
    """A started process that has said that it is ready."""
    made = Child("it", python(code), tmp_path / "log").start()
    wait_for("readiness", lambda: "ready" in made.log.read_text() or None, 20, made)
    return made


def test_commands_stand_beside_the_interpreter() -> None:
    assert Path(command("keyvigil-lab")).parent == Path(sys.executable).parent


def test_the_output_of_a_command_comes_back() -> None:
    assert run(python("import os; print(os.environ['WORD'])"), env={"WORD": "said"}) == "said\n"


def test_a_command_that_fails_tells_what_it_said() -> None:
    with pytest.raises(LabError, match=r"ended with 3: no way") as caught:
        run(python("import sys; print('no way', file=sys.stderr); sys.exit(3)"))
    assert "--keep" in caught.value.remedy


def test_a_command_that_is_not_there_or_too_slow_is_an_error() -> None:
    with pytest.raises(LabError, match="did not run"):
        run(["/absent/command"])
    with pytest.raises(LabError, match="did not run"):
        run(python(PATIENT), timeout=0.2)


def test_a_child_writes_its_log_and_ends_when_asked(tmp_path: Path) -> None:
    running = child(tmp_path, PATIENT)
    running.check()
    assert running.peak_memory_mb() is not None
    running.stop()
    assert running.process is not None
    assert running.process.returncode == -signal.SIGTERM
    running.stop()


def test_a_stubborn_child_is_ended_all_the_same(tmp_path: Path) -> None:
    running = child(tmp_path, STUBBORN)
    running.stop(timeout=0.1)
    assert running.process is not None
    assert running.process.returncode == -signal.SIGKILL


def test_a_power_cut_leaves_no_time(tmp_path: Path) -> None:
    running = child(tmp_path, PATIENT)
    running.kill()
    assert running.process is not None
    assert running.process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(running.pid, 0)


def test_a_child_that_ended_by_itself_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    running = Child("it", python("print('last words')"), tmp_path / "log").start()
    assert running.process is not None
    running.process.wait(20)
    with pytest.raises(LabError, match="it ended with 0: last words"):
        running.check()
    assert running.peak_memory_mb() is None


def test_a_child_that_was_never_started_has_no_id(tmp_path: Path) -> None:
    absent = Child("it", python(PATIENT), tmp_path / "log")
    absent.check()
    absent.stop()
    absent.kill()
    assert absent.peak_memory_mb() is None
    with pytest.raises(LabError, match="not running"):
        _ = absent.pid


def test_a_log_is_continued_by_the_next_start(tmp_path: Path) -> None:
    for _ in range(2):
        made = Child("it", python("print('line')"), tmp_path / "log").start()
        assert made.process is not None
        made.process.wait(20)
    assert (tmp_path / "log").read_text() == "line\nline\n"
