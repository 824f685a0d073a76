"""Building: the same bytes from the same sources, and nothing that the lock does not have."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from packages.build import _add_control, _pack, _set_modes
from packages.programs import AUTHORITY
from packages.vendor import BuildError, _install_locked

WHEN = 1_700_000_000

packed = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb")


def tree(folder: Path, mode: int, order: list[str]) -> Path:
    for name in order:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        file.chmod(mode)
    return folder


def pack(folder: Path, mode: int, order: list[str], out: Path) -> bytes:
    before = os.umask(0o666 & ~mode | 0o022)
    try:
        root = tree(folder, mode, order)
        _add_control(AUTHORITY, root, "1-1")
    finally:
        os.umask(before)
    _set_modes(root)
    return _pack(AUTHORITY, root, out, "1-1", WHEN).read_bytes()


@packed
def test_a_package_depends_on_no_time_no_umask_and_no_order(tmp_path: Path) -> None:
    names = ["etc/logrotate.d/a", "usr/bin/b", "usr/share/c"]
    one = pack(tmp_path / "one", 0o600, names, tmp_path / "first")
    two = pack(tmp_path / "two", 0o644, names[::-1], tmp_path / "second")
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()
    other = pack(tmp_path / "three", 0o644, [*names, "usr/share/d"], tmp_path / "third")
    assert one != other


@packed
def test_what_lies_in_etc_is_a_conffile_and_everything_is_root_s(tmp_path: Path) -> None:
    pack(tmp_path / "root", 0o600, ["etc/logrotate.d/a", "usr/bin/b"], tmp_path)
    (file,) = tmp_path.glob("*.deb")
    told = subprocess.run(["dpkg-deb", "--info", file, "conffiles"], capture_output=True, text=True, check=True).stdout
    assert told == "/etc/logrotate.d/a\n"
    listed = subprocess.run(["dpkg-deb", "--contents", file], capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in listed.splitlines()} == {"root/root"}
    assert "-rw-r--r--" in listed


@pytest.mark.slow
def test_a_file_without_the_lock_s_hash_is_not_vendored(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    pin = "h11==0.16.0 --hash=sha256:"
    lock.write_text(f"{pin}63cf8bbe7522de3bf65932fda1d9c2772064ffb3dae62d55932da54b31cb6c86\n")
    _install_locked(lock, tmp_path / "good", lock)
    assert (tmp_path / "good/h11/__init__.py").is_file()
    lock.write_text(f"{pin}{'0' * 64}\n")
    with pytest.raises(BuildError, match=r"(?i)hash"):
        _install_locked(lock, tmp_path / "bad", lock)
    assert not (tmp_path / "bad/h11").exists()
