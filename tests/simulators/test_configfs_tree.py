"""The simulated report interface against what the kernel documents, by plain system calls."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hal import PermissionDenied
from simulators.devices.configfs_tree import ConfigfsTree
from simulators.devices.faults import Fault, FaultOrder

ATTRIBUTES = {"inblob", "outblob", "auxblob", "provider", "generation", "privlevel"}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ConfigfsTree]:
    try:
        made = ConfigfsTree(tmp_path / "configfs")
    except PermissionDenied as error:
        pytest.skip(f"{error}; {error.remedy}")
    with made:
        yield made


@pytest.fixture
def entry(tree: ConfigfsTree) -> Path:
    path = tree.root / "tsm" / "report" / "mine"
    path.mkdir()
    return path


def failing(work: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:
        work()
    return caught.value.errno


def test_a_directory_comes_with_its_attributes_and_goes_with_them(tree: ConfigfsTree, entry: Path):
    assert {path.name for path in entry.iterdir()} == ATTRIBUTES
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in entry.iterdir()}
    assert (modes["inblob"], modes["outblob"], modes["privlevel"]) == (0o200, 0o400, 0o200)
    assert tree.reports == ["mine"]
    entry.rmdir()
    assert tree.reports == [] and not entry.exists()


def test_nothing_else_can_be_made_or_removed(tree: ConfigfsTree, entry: Path):
    assert failing((entry / "sub").mkdir) == errno.EPERM
    assert failing(entry.mkdir) == errno.EEXIST
    assert failing((entry / "inblob").unlink) is not None
    assert failing((tree.root / "other").mkdir) == errno.EPERM
    assert failing((tree.root / "tsm" / "report" / "none").rmdir) == errno.ENOENT


def test_every_write_counts_and_a_report_is_made_of_the_last(tree: ConfigfsTree, entry: Path):
    assert (entry / "generation").read_text() == "0\n"
    assert failing((entry / "outblob").read_bytes) == errno.EINVAL
    (entry / "inblob").write_bytes(b"first")
    first = (entry / "outblob").read_bytes()
    (entry / "privlevel").write_bytes(b"3")
    (entry / "inblob").write_bytes(b"second")
    assert (entry / "generation").read_text() == "3\n"
    assert tree.attested(first) == (b"first", 0)
    assert tree.attested((entry / "outblob").read_bytes()) == (b"second", 3)
    assert (entry / "provider").read_text() == "sev_guest\n"


def test_what_the_kernel_does_not_take_is_refused(entry: Path):
    assert failing(lambda: (entry / "inblob").write_bytes(bytes(65))) == errno.EFBIG
    assert failing(lambda: (entry / "privlevel").write_bytes(b"9")) == errno.EINVAL
    assert failing(lambda: (entry / "provider").write_bytes(b"x")) == errno.EACCES
    assert failing((entry / "inblob").read_bytes) == errno.EACCES
    assert (entry / "generation").read_text() == "0\n"


def test_another_process_sees_the_same(tree: ConfigfsTree, entry: Path):
    (entry / "inblob").write_bytes(b"asked here")
    program = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"
    done = subprocess.run(
        [sys.executable, "-c", program, str(entry / "outblob")], capture_output=True, check=False, timeout=60
    )
    assert tree.attested(done.stdout) == (b"asked here", 0)


def test_platforms_differ_by_their_seed(tmp_path: Path, tree: ConfigfsTree, entry: Path):
    (entry / "inblob").write_bytes(b"x")
    with ConfigfsTree(tmp_path / "other", seed=2) as other, pytest.raises(ValueError, match="platform"):
        other.attested((entry / "outblob").read_bytes())


def test_faults_begin_and_end(tree: ConfigfsTree, entry: Path):
    write = lambda: (entry / "inblob").write_bytes(b"x")  # noqa: E731
    tree.inject(FaultOrder(Fault.BUSY, after=1))
    write()
    assert failing(write) == errno.EBUSY
    tree.mend()
    write()
    tree.inject(FaultOrder(Fault.UNPLUG))
    assert failing((entry / "outblob").read_bytes) == errno.ENXIO
    assert failing((tree.root / "tsm" / "report" / "new").mkdir) == errno.ENXIO
    tree.mend()
    tree.inject(FaultOrder(Fault.SHORT_READ))
    descriptor = os.open(entry / "outblob", os.O_RDONLY)
    assert len(os.read(descriptor, 4096)) == 7
    os.close(descriptor)
    with pytest.raises(ValueError, match="cannot play"):
        tree.inject(FaultOrder(Fault.LOCKOUT))


def test_closing_unmounts_and_may_be_repeated(tmp_path: Path, tree: ConfigfsTree):
    tree.close()
    tree.close()
    assert list(tree.root.iterdir()) == []
    assert str(tree.root) not in Path("/proc/mounts").read_text()
