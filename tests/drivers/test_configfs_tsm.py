"""Reports of a confidential VM: the shipped driver on a mounted tree that behaves as the kernel's does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.configfs_tsm import ConfigfsTsmDriver, Settings
from hal import (
    Busy,
    Capability,
    Deadline,
    DeviceError,
    Disconnected,
    Enclave,
    EnclaveKind,
    KeyUse,
    NotFound,
    PermissionDenied,
    ProtocolError,
    TimedOut,
    Transport,
    Unsupported,
)
from simulators.devices.configfs_tree import ConfigfsTree
from simulators.devices.faults import Fault, FaultOrder
from tests.drivers.token_rigs import EnclaveRig, configfs_rig
from tests.leaks import leaked, open_descriptors
from tests.on_time import on_time

NONCE = bytes(range(64))
TIMEOUT = 0.4


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[EnclaveRig]:
    with configfs_rig(tmp_path) as made:
        yield made


@pytest.fixture
def tree(rig: EnclaveRig) -> ConfigfsTree:
    assert isinstance(rig.device, ConfigfsTree)
    return rig.device


@pytest.fixture
def enclave(rig: EnclaveRig) -> Iterator[Enclave]:
    with rig.open() as opened:
        yield opened


def test_it_attests_and_nothing_else(enclave: Enclave):
    assert enclave.kind is EnclaveKind.CONFIDENTIAL_VM
    assert enclave.info.capabilities == {Capability.REPORT, Capability.SHARED}
    assert (enclave.info.vendor_id, enclave.info.transport) == ("sev_guest", Transport.VIRTUAL)
    for refused in (
        lambda: enclave.create_key(KeyUse.SIGN, b"", NONCE[:32]),
        lambda: enclave.seal(b"x", ()),
        lambda: enclave.quote(NONCE[:32], (0,)),
        lambda: enclave.counter("x"),
        lambda: enclave.random(1),
    ):
        with pytest.raises(Unsupported):
            refused()


@pytest.mark.parametrize("size", [1, 32, 64])
def test_a_report_is_over_what_was_asked(tree: ConfigfsTree, enclave: Enclave, size: int):
    report = enclave.report(NONCE[:size])
    assert tree.attested(report.report) == (NONCE[:size], 0)
    assert (report.provider, report.auxiliary) == ("sev_guest", b"certificates of sev_guest")
    with pytest.raises(ValueError, match="not a report"):
        tree.attested(report.report[:-1] + bytes([report.report[-1] ^ 1]))


@pytest.mark.parametrize("size", [0, 65])
def test_more_than_the_platform_takes_is_a_mistake_of_the_caller(enclave: Enclave, size: int):
    with pytest.raises(ValueError, match="bytes"):
        enclave.report(bytes(size))


def test_a_level_that_was_configured_is_asked_for(rig: EnclaveRig, tree: ConfigfsTree):
    with rig.open(privlevel=2) as enclave:
        assert tree.attested(enclave.report(NONCE).report) == (NONCE, 2)


def test_somebody_else_s_write_is_noticed_and_the_report_made_anew(tree: ConfigfsTree, enclave: Enclave):
    tree.interfere(3)
    assert tree.attested(enclave.report(NONCE).report) == (NONCE, 0)


def test_somebody_who_never_stops_writing_is_told_of(rig: EnclaveRig, tree: ConfigfsTree):
    with rig.open(timeout=TIMEOUT) as enclave:
        tree.interfere(10**6)
        with pytest.raises(Busy):
            enclave.report(NONCE)


def test_several_may_report_at_once(rig: EnclaveRig, tree: ConfigfsTree):
    answers: dict[int, bytes] = {}

    def ask(number: int) -> None:
        with rig.open() as enclave:
            answers[number] = enclave.report(bytes([number])).report

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: tree.attested(report)[0] for number, report in answers.items()} == {
        number: bytes([number]) for number in range(1, 9)
    }


def test_nothing_is_left_behind_on_any_path(rig: EnclaveRig, tree: ConfigfsTree):
    with rig.open(timeout=TIMEOUT) as enclave:
        enclave.report(NONCE)
        assert tree.reports == []
        for fault in (Fault.BUSY, Fault.CORRUPT):
            tree.inject(FaultOrder(fault))
            with pytest.raises(DeviceError):
                enclave.report(NONCE)
            tree.mend()
            assert tree.reports == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (FaultOrder(Fault.UNPLUG), Disconnected),
        (FaultOrder(Fault.UNPLUG, after=1), Disconnected),
        (FaultOrder(Fault.BUSY), Busy),
        (FaultOrder(Fault.SLOW, seconds=60), TimedOut),
        (FaultOrder(Fault.STALL), TimedOut),
        (FaultOrder(Fault.CORRUPT), ProtocolError),
        (FaultOrder(Fault.PERMISSION_DENIED), PermissionDenied),
    ],
)
def test_a_fault_is_named_in_time_and_mended(
    rig: EnclaveRig, tree: ConfigfsTree, order: FaultOrder, expected: type[DeviceError]
):
    with rig.open(timeout=TIMEOUT) as enclave:
        tree.inject(order)
        with on_time(TIMEOUT), pytest.raises(expected) as caught:
            enclave.report(NONCE)
        assert caught.value.remedy
    tree.mend()
    with rig.open() as again:
        assert tree.attested(again.report(NONCE).report) == (NONCE, 0)
    # A report that was stalled is tidied up by its own thread, once the device answers.
    deadline = Deadline.after(5)
    while tree.reports:
        deadline.check("tidying up")
        threading.Event().wait(0.01)


def test_a_fault_that_passes_is_waited_out(tree: ConfigfsTree, enclave: Enclave):
    tree.inject(FaultOrder(Fault.BUSY, seconds=0.1))
    assert tree.attested(enclave.report(NONCE).report) == (NONCE, 0)


def test_a_report_that_comes_in_pieces_is_read_whole(tree: ConfigfsTree, enclave: Enclave):
    tree.inject(FaultOrder(Fault.SHORT_READ))
    assert tree.attested(enclave.report(NONCE).report) == (NONCE, 0)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(Fault.UNPLUG, NotFound), (Fault.PERMISSION_DENIED, PermissionDenied), (Fault.STALL, TimedOut)],
)
def test_opening_fails_for_the_same_reasons(
    rig: EnclaveRig, tree: ConfigfsTree, fault: Fault, expected: type[DeviceError]
):
    tree.inject(FaultOrder(fault))
    with pytest.raises(expected):
        rig.driver.open(rig.options, Deadline.after(0.2))
    tree.mend()
    assert len(rig.driver.list(rig.options)) == 1


def test_a_machine_without_the_interface_has_no_such_device(tmp_path: Path):
    assert list(ConfigfsTsmDriver().list({"root": str(tmp_path)})) == []
    with pytest.raises(NotFound) as caught:
        ConfigfsTsmDriver().open({"root": str(tmp_path)})
    assert "modprobe" in caught.value.remedy


def test_the_kernel_s_own_mount_is_no_simulation():
    assert Settings.parse({}).transport is Transport.SYSTEM
    assert Settings.parse({"root": "/tmp/x"}).transport is Transport.VIRTUAL


@pytest.mark.parametrize(
    "options", [{"root": "here"}, {"root": 1}, {"timeout": 0}, {"privlevel": 4}, {"privlevel": True}, {"level": 1}]
)
def test_wrong_options_are_named_with_a_remedy(options: dict[str, object]):
    with pytest.raises(Unsupported) as caught:
        ConfigfsTsmDriver().open(options)
    assert caught.value.remedy


def test_a_closed_one_answers_no_more(enclave: Enclave):
    enclave.close()
    enclave.close()
    with pytest.raises(Disconnected):
        enclave.report(NONCE)


def test_opening_and_closing_leaks_nothing(rig: EnclaveRig, rounds: int = 30):
    def running() -> int:
        return sum(one.name == "configfs-tsm" for one in threading.enumerate())

    before, threads = open_descriptors(), running()
    for _ in range(rounds):
        with rig.open() as enclave:
            enclave.report(NONCE)
    deadline = Deadline.after(5)
    while running() > threads:
        deadline.check("ending the threads")
        threading.Event().wait(0.01)
    assert not leaked(before, rounds)


@pytest.mark.slow
def test_a_thousand_openings_leak_nothing(rig: EnclaveRig):
    test_opening_and_closing_leaks_nothing(rig, 1000)
