from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent.durable import discard_leftover, private_directory, read_struct, remove, write_private
from agent.errors import StateError


class Note(msgspec.Struct, forbid_unknown_fields=True):
    value: int


def test_a_written_file_is_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_private(target, b"one")
    write_private(target, b"two")
    assert target.read_bytes() == b"two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


SCRIPT = """
import resource, sys
from pathlib import Path
from agent.durable import write_private
from agent.errors import StateError
from agent.hardening import harden_process
harden_process()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_private(Path(sys.argv[1]), bytes(5000))
except StateError as error:
    print(error.remedy)
    sys.exit(7)
"""


def test_a_disk_that_takes_no_more_leaves_the_old_content(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk: the same write fails half-way."""
    target = tmp_path / "file"
    write_private(target, b"old")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(target)], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "nothing that was stored before is lost" in done.stdout
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_plain_write_under_that_limit_loses_the_old_content(tmp_path: Path) -> None:
    """Negative control: without the new file beside the old one, the same failure destroys what was there."""
    target = tmp_path / "file"
    target.write_bytes(b"old")
    plain = SCRIPT.replace(
        "write_private(Path(sys.argv[1]), bytes(5000))", "Path(sys.argv[1]).write_bytes(bytes(5000))"
    )
    subprocess.run([sys.executable, "-c", plain, str(target)], capture_output=True, check=False)
    assert target.read_bytes() != b"old"


def test_a_write_into_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="absent") as refusal:
        write_private(tmp_path / "absent" / "file", b"x")
    assert refusal.value.remedy


def test_a_damaged_file_is_refused_and_an_absent_one_is_none(tmp_path: Path) -> None:
    assert read_struct(tmp_path / "absent", Note) is None
    (tmp_path / "note").write_bytes(b'{"value": 1, "more": 2}')
    with pytest.raises(StateError, match="damaged"):
        read_struct(tmp_path / "note", Note)
    (tmp_path / "note").write_bytes(b'{"value": 1}')
    assert read_struct(tmp_path / "note", Note) == Note(1)


def test_removing_twice_is_fine(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"x")
    remove(tmp_path / "file")
    remove(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    private_directory(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o750)
    with pytest.raises(StateError, match="open to other users"):
        private_directory(folder)


def test_what_a_crash_left_is_overwritten_or_goes(tmp_path: Path) -> None:
    target, leftover = tmp_path / "file", tmp_path / ".file.new"
    leftover.write_bytes(b"half")
    leftover.chmod(0o644)
    write_private(target, b"whole")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    for sweep in (discard_leftover, remove):
        leftover.write_bytes(b"half")
        sweep(target)
        assert not leftover.exists()


def test_a_symbolic_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".file.new").symlink_to(tmp_path / "elsewhere")
    write_private(tmp_path / "file", b"secret")
    assert not (tmp_path / "elsewhere").exists()


KILLED = """
import os, sys
from pathlib import Path
from agent import durable
step, target = int(sys.argv[1]), Path(sys.argv[2])
calls = 0
def dying(name, real):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == step:
            os.kill(os.getpid(), 9)
        return real(*arguments, **options)
    return call
for name in ("open", "fdopen", "fsync", "close"):
    setattr(os, name, dying(name, getattr(os, name)))
Path.replace = dying("replace", Path.replace)
durable.write_private(target, b"new")
"""


def test_killed_at_any_step_a_write_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    target, found, step = tmp_path / "file", set(), 0
    while True:
        step += 1
        write_private(target, b"old")
        arguments = [sys.executable, "-c", KILLED, str(step), str(target)]
        done = subprocess.run(arguments, capture_output=True, check=False)
        found.add(target.read_bytes())
        assert found <= {b"old", b"new"}
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
    assert step > 5
    assert found == {b"old", b"new"}
