"""Openings on the node: sealed, bound to what they are of, and gone when their window ends, whatever crashes."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from agent.enclave import EnclaveGate
from agent.errors import OpeningUnavailable, StateError
from agent.openings import OpeningStore, _File
from agent.state import StateDirectory
from drivers.software_enclave import SoftwareEnclaveDriver
from hal import Deadline, Enclave
from protocol.codec import ProtocolViolation, decode, encode
from protocol.openings import Opening
from tests.agent.world import SELECTION, Tpm
from tests.protocol.test_openings import OPENING

NOW = 1_000_000.0
FEATURES = b"what was measured of somebody, as int16 "
MADE = msgspec.structs.replace(OPENING, record_id="r1", challenge_id="c1", features=FEATURES)


@dataclass
class Shelf:
    """A store with a clock of its own, whose enclave is a TPM."""

    gate: EnclaveGate
    folder: Path
    clock: float = NOW

    @property
    def store(self) -> OpeningStore:
        return OpeningStore(self.folder, os.urandom, lambda: self.clock)

    def keep(self, opening: Opening = MADE, window_s: float = 3600) -> Path:
        with self.gate.use() as enclave:
            self.store.keep(enclave, tuple(SELECTION), [opening], window_s)
        return next(one.path for one in self.store.kept() if one.challenge_id == opening.challenge_id)

    def open(self, challenge: str = "c1") -> list[Opening]:
        with self.gate.use() as enclave:
            return self.store.open(enclave, challenge)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def shelf(gate: EnclaveGate, state: StateDirectory) -> Shelf:
    return Shelf(gate, state.openings)


def test_what_is_kept_opens_again_and_is_private(shelf: Shelf) -> None:
    path = shelf.keep()
    assert shelf.open() == [MADE]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700


def test_nothing_of_the_features_or_the_blinding_lies_in_the_file(shelf: Shelf) -> None:
    data = shelf.keep().read_bytes()
    sealed = decode(data, _File)
    for secret in (FEATURES, MADE.blinding):
        assert secret not in data + sealed.header + sealed.ciphertext
        assert secret in b"".join((MADE.features, MADE.blinding)), "the control: so it would be found in clear"


def test_it_does_not_open_after_its_window_even_before_it_is_removed(shelf: Shelf) -> None:
    shelf.keep(window_s=60)
    shelf.clock = NOW + 59
    assert shelf.open() == [MADE]
    shelf.clock = NOW + 60
    with pytest.raises(OpeningUnavailable, match="no longer"):
        shelf.open()
    assert shelf.store.next_end() is None
    assert shelf.store.sweep() == 1
    assert shelf.names() == []


def test_a_clock_that_went_back_does_not_lengthen_the_window(shelf: Shelf) -> None:
    shelf.keep(window_s=60)
    shelf.clock = NOW - 86_400
    with pytest.raises(OpeningUnavailable):
        shelf.open()
    assert shelf.store.sweep() == 1


def test_sweeping_leaves_what_lasts_and_what_is_being_written(shelf: Shelf) -> None:
    lasting = shelf.keep().name
    shelf.keep(msgspec.structs.replace(MADE, challenge_id="c2"), window_s=10)
    written = f".r1.c3.{int(NOW)}.{int(NOW) + 3600}.opening.new"
    (shelf.folder / written).write_bytes(b"half")
    (shelf.folder / "stray").write_bytes(b"?")
    shelf.clock = NOW + 20
    assert shelf.store.sweep() == 2
    assert shelf.names() == sorted([lasting, written])
    assert shelf.store.recover() == 1
    assert shelf.names() == [lasting]


def test_a_half_written_one_goes_with_its_window_too(shelf: Shelf) -> None:
    (shelf.folder / f".r1.c3.{int(NOW)}.{int(NOW) + 10}.opening.new").write_bytes(b"half")
    shelf.clock = NOW + 10
    assert shelf.store.sweep() == 1


def test_erasing_one_record_leaves_the_others(shelf: Shelf) -> None:
    shelf.keep()
    other = shelf.keep(msgspec.structs.replace(MADE, record_id="r2", challenge_id="c2")).name
    shelf.store.discard("r1")
    assert shelf.names() == [other]


def renamed(path: Path) -> None:
    path.rename(path.with_name(path.name.replace(".1003600.", ".1999999.")))


def reheaded(path: Path) -> None:
    file = decode(path.read_bytes(), _File)
    header = file.header.replace(b'"until":1003600', b'"until":1999999')
    path.write_bytes(encode(msgspec.structs.replace(file, header=header)))
    renamed(path)


def flipped(path: Path) -> None:
    file = decode(path.read_bytes(), _File)
    path.write_bytes(
        encode(msgspec.structs.replace(file, ciphertext=bytes([file.ciphertext[0] ^ 1]) + file.ciphertext[1:]))
    )


def garbled(path: Path) -> None:
    path.write_bytes(b"garbage")


@pytest.mark.parametrize("change", [renamed, reheaded, flipped, garbled])
def test_a_changed_file_does_not_open(change: Callable[[Path], None], shelf: Shelf) -> None:
    change(shelf.keep())
    assert shelf.store.kept(), "it is still there to be tried"
    with pytest.raises(OpeningUnavailable):
        shelf.open()


def test_another_tpm_does_not_open_it(shelf: Shelf, other_tpm: Tpm) -> None:
    shelf.keep()
    stranger = replace(shelf, gate=replace(shelf.gate, opener=other_tpm.open))
    with pytest.raises(OpeningUnavailable, match="another machine"):
        stranger.open()


def test_another_state_of_the_machine_does_not_open_it(shelf: Shelf, tpm: Tpm) -> None:
    shelf.keep()
    tpm.extend()
    with pytest.raises(OpeningUnavailable, match="another state"):
        shelf.open()


def test_identifiers_that_could_be_paths_are_refused(shelf: Shelf) -> None:
    for changes in ({"record_id": "../r1"}, {"challenge_id": "a.b"}, {"record_id": "R1"}):
        with pytest.raises(ProtocolViolation):
            shelf.keep(msgspec.structs.replace(MADE, **changes))
    assert shelf.names() == []


def test_a_folder_that_cannot_be_written_leaves_nothing(shelf: Shelf) -> None:
    gone = replace(shelf, folder=shelf.folder / "gone")
    with pytest.raises(StateError):
        gone.keep()
    assert shelf.names() == []


def test_kill_at_any_point_leaves_nothing_past_the_window(tmp_path: Path) -> None:
    """A process that does nothing but keep openings is killed at 30 points; then the window ends."""
    folder, enclave = tmp_path / "openings", tmp_path / "enclave"
    folder.mkdir(mode=0o700)
    left = 0
    for number in range(30):
        _killed(0.001 * number, folder, lambda: _keep_for_ever(folder, enclave))
        left += len(list(folder.glob(".*")))
        store = OpeningStore(folder, os.urandom, time.time)
        store.recover()
        assert not list(folder.glob(".*")), "nothing half-written stays"
        with _software(enclave) as opened:
            for one in store.kept():
                assert store.open(opened, one.challenge_id) == [
                    msgspec.structs.replace(MADE, challenge_id=one.challenge_id)
                ]
        OpeningStore(folder, os.urandom, lambda: time.time() + 61).sweep()
        assert list(folder.iterdir()) == []
    assert left, "some were killed in the middle of writing"


def _keep_for_ever(folder: Path, enclave: Path) -> None:
    store = OpeningStore(folder, os.urandom, time.time)
    with _software(enclave) as opened:
        for number in range(10**6):
            store.keep(opened, (), [msgspec.structs.replace(MADE, challenge_id=f"c{number}")], 60)


def _software(folder: Path) -> Enclave:
    return SoftwareEnclaveDriver().open({"folder": str(folder)}, Deadline.after(5))


def _killed(seconds: float, folder: Path, work: Callable[[], None]) -> None:
    """Begin `work` in a process of its own, and kill it so many seconds after it has begun to write."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    deadline = Deadline.after(30)
    while not any(folder.iterdir()):
        deadline.check("writing")
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
