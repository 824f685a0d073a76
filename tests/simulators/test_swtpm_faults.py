"""The faults of the emulated TPM at the level of its wire: no driver and no software stack takes part."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

if not shutil.which("swtpm"):
    pytest.skip("no software TPM: apt-get install swtpm swtpm-tools", allow_module_level=True)

from hal import DeviceError
from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.swtpm import Swtpm, SwtpmFactory
from simulators.devices.tpm_bus import STRANGER, TpmBus
from simulators.devices.tpm_program import MANUFACTURER_QUESTION, TpmProgram, ask, response_code

SECONDS = 0.3


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> SwtpmFactory:
    return SwtpmFactory(tmp_path_factory.mktemp("maker"))


@pytest.fixture
def tpm(factory: SwtpmFactory, tmp_path: Path) -> Iterator[Swtpm]:
    with Swtpm(factory.fresh(tmp_path / "tpm")) as running:
        yield running


def public_path(tpm: Swtpm) -> Path:
    return Path(tpm.tcti.removeprefix("swtpm:path="))


def answer(tpm: Swtpm, seconds: float = 5.0) -> bytes:
    return ask(public_path(tpm), MANUFACTURER_QUESTION, seconds)


def clock(tpm: Swtpm) -> tuple[int, bool]:
    """resetCount and `safe` of TPM2_ReadClock (29.1)."""
    said = ask(public_path(tpm), bytes.fromhex("8001 0000000a 00000181"), 5.0)
    return int.from_bytes(said[26:30], "big"), said[34] == 1


def lockout_counter(tpm: Swtpm) -> int:
    said = ask(public_path(tpm), bytes.fromhex("8001 00000016 0000017a 00000006 0000020e 00000001"), 5.0)
    return int.from_bytes(said[-4:], "big")


def test_the_same_template_is_one_identity_and_another_is_not(factory, tmp_path):
    template = {file.name: file.read_bytes() for file in factory.manufacture("template-0").path.iterdir()}
    for name in ("first", "second"):
        made = factory.fresh(tmp_path / name)
        assert {file.name: file.read_bytes() for file in made.path.iterdir() if file.name != ".lock"} == {
            name: content for name, content in template.items() if name != ".lock"
        }
    other = factory.fresh(tmp_path / "other", identity=1)
    assert (other.path / "tpm2-00.permall").read_bytes() != template["tpm2-00.permall"]


def test_what_it_cannot_play_is_refused(tpm):
    with pytest.raises(ValueError, match="server-death"):
        tpm.inject(FaultOrder(Fault.SERVER_DEATH))
    assert Fault.NV_FULL in tpm.faults


def test_mending_without_a_fault_changes_nothing(tpm):
    before = answer(tpm), tpm.pid
    tpm.mend()
    assert (answer(tpm), tpm.pid) == before
    tpm.mend()


def test_unplugged_there_is_no_socket_and_no_process(tpm):
    pid = tpm.pid
    tpm.inject(FaultOrder(Fault.UNPLUG))
    assert not public_path(tpm).exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    tpm.mend()
    assert response_code(answer(tpm)) == 0


def test_stalled_it_takes_a_connection_and_never_answers(tpm):
    tpm.inject(FaultOrder(Fault.STALL))
    with pytest.raises(TimeoutError):
        answer(tpm, SECONDS)
    tpm.mend()
    assert response_code(answer(tpm)) == 0


def test_busy_its_one_connection_is_taken(tpm):
    tpm.inject(FaultOrder(Fault.BUSY))
    with pytest.raises(TimeoutError):
        answer(tpm, SECONDS)
    tpm.mend()
    assert response_code(answer(tpm)) == 0


def test_without_permission_the_socket_has_no_mode_bits(tpm):
    tpm.inject(FaultOrder(Fault.PERMISSION_DENIED))
    assert public_path(tpm).stat().st_mode & 0o777 == 0
    tpm.mend()
    assert public_path(tpm).stat().st_mode & 0o777 == 0o600


def test_a_reset_moves_the_count_and_an_unclean_one_shows(tpm):
    before, _ = clock(tpm)
    tpm.inject(FaultOrder(Fault.RESET))
    assert clock(tpm) == (before + 1, False)


def test_locked_out_the_counter_is_at_its_limit_until_mended(tpm):
    assert lockout_counter(tpm) == 0
    tpm.inject(FaultOrder(Fault.LOCKOUT))
    assert lockout_counter(tpm) == 3
    tpm.mend()
    assert lockout_counter(tpm) == 0


def test_full_nothing_more_fits_and_mended_it_does(tpm):
    program = TpmProgram(tpm.chip_socket, 5.0)
    tpm.inject(FaultOrder(Fault.NV_FULL))
    assert program.fill() == []
    tpm.mend()
    room = program.fill()
    assert len(room) > 10
    for handle in room:
        program.remove(handle)
    with pytest.raises(DeviceError, match="refused"):
        program.remove(room[0])


def test_short_the_answer_is_cut_and_the_connection_ends(tpm):
    whole = answer(tpm)
    tpm.inject(FaultOrder(Fault.SHORT_READ))
    assert read_all(tpm) == whole[: len(whole) // 2]
    tpm.mend()
    assert answer(tpm) == whole


def read_all(tpm: Swtpm) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(public_path(tpm)))
        connection.sendall(MANUFACTURER_QUESTION)
        received = b""
        while part := connection.recv(4096):
            received += part
    return received


def test_corrupt_the_same_seed_spoils_the_same_bytes(tpm):
    whole, spoiled = answer(tpm), []
    for seed in (7, 7, 8):
        tpm.inject(FaultOrder(Fault.CORRUPT, rate=0.5, seed=seed))
        spoiled.append(answer(tpm))
        tpm.mend()
    assert spoiled[0] == spoiled[1] != spoiled[2]
    assert all(len(one) == len(whole) and one != whole for one in spoiled)
    assert answer(tpm) == whole


def test_after_so_many_messages_the_fault_begins_and_not_before(tpm):
    whole = answer(tpm)
    tpm.inject(FaultOrder(Fault.CORRUPT, after=2))
    assert [answer(tpm) == whole for _ in range(4)] == [True, True, False, False]
    tpm.mend()
    tpm.inject(FaultOrder(Fault.STALL, after=1))
    assert answer(tpm) == whole
    with pytest.raises(TimeoutError):
        answer(tpm, SECONDS)


def test_a_rate_hits_a_share_of_the_messages(tpm):
    tpm.inject(FaultOrder(Fault.WRONG_DESCRIPTOR, rate=0.5, seed=3))
    answers = [read_once(tpm) for _ in range(20)]
    assert 0 < answers.count(STRANGER) < 20


def read_once(tpm: Swtpm) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(public_path(tpm)))
        connection.sendall(MANUFACTURER_QUESTION)
        return connection.recv(4096)


def test_a_passing_fault_ends_by_itself(tpm):
    tpm.inject(FaultOrder(Fault.STALL, seconds=SECONDS))
    assert response_code(answer(tpm)) == 0
    tpm.inject(FaultOrder(Fault.BUSY, seconds=SECONDS))
    assert response_code(answer(tpm)) == 0


def test_several_faults_at_once_are_all_mended(tpm):
    for fault in (Fault.LOCKOUT, Fault.NV_FULL, Fault.CORRUPT, Fault.STALL):
        tpm.inject(FaultOrder(fault))
    tpm.mend()
    assert response_code(answer(tpm)) == 0
    assert lockout_counter(tpm) == 0


def test_the_bus_hears_every_command_and_leaves_when_mended(tpm):
    bus = tpm.bus
    said = answer(tpm)
    assert bytes(bus.heard) == MANUFACTURER_QUESTION + said
    tpm.mend()
    answer(tpm)
    assert bytes(bus.heard) == MANUFACTURER_QUESTION + said


def test_a_closed_bus_leaves_no_thread_and_no_file(tpm, tmp_path):
    path = tmp_path / "bus"
    with TpmBus(path, tpm.chip_socket):
        assert ask(path, MANUFACTURER_QUESTION, 5.0) == answer(tpm)
        assert [thread for thread in threading.enumerate() if thread.name == f"bus {path}"]
    assert not path.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == f"bus {path}"]
