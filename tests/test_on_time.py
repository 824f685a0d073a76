"""The bound on time: what overstays by waiting or working is noticed, and is not blamed for a machine that stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.on_time import MARGIN_S, Watch, on_time

STOPPED_S = 1.0
STOPPING = """
import os, signal, sys, time
os.kill(int(sys.argv[1]), signal.SIGSTOP)
time.sleep(float(sys.argv[2]))
os.kill(int(sys.argv[1]), signal.SIGCONT)
"""


def wait(seconds: float) -> None:
    time.sleep(seconds)


def work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def noticed(block: Callable[[], object], seconds: float) -> bool:
    """Whether the bound says that the block overstayed; tried again, and given up, where the machine withholds more."""
    for _ in range(5):
        with Watch() as watch:
            try:
                with on_time(seconds):
                    block()
            except AssertionError as error:
                assert "withheld" in str(error)
                return True
        if watch.withheld < watch.spent / 3:
            return False
    pytest.skip("the machine is too busy for a control of time")


@pytest.mark.parametrize("overstay", [wait, work])
def test_what_takes_too_long_is_noticed(overstay: Callable[[float], None]) -> None:
    assert noticed(lambda: overstay(0.11 + MARGIN_S + 0.1), 0.1)


@pytest.mark.parametrize("pass_time", [wait, work])
def test_what_is_in_time_passes(pass_time: Callable[[float], None]) -> None:
    with on_time(0.3, least=0.1):
        pass_time(0.15)


def test_what_ends_too_early_is_noticed() -> None:
    with pytest.raises(AssertionError, match="at least"), on_time(0.3, least=0.1):
        pass


def test_an_error_of_the_block_is_the_one_that_is_told() -> None:
    with pytest.raises(KeyError), on_time(0):
        wait(0.3)
        raise KeyError


def test_a_second_in_which_the_process_was_stopped_is_not_counted() -> None:
    with on_time(0.3, least=STOPPED_S), Watch() as watch:
        _be_stopped()
        wait(0.05)
    assert watch.withheld >= STOPPED_S


def test_a_second_of_stopping_does_not_excuse_four_of_waiting() -> None:
    with pytest.raises(AssertionError, match="withheld"), on_time(0.3):
        _be_stopped()
        wait(4 * STOPPED_S)


def _be_stopped() -> None:
    """For a second, as by a machine that does something else."""
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL
    command = [sys.executable, "-S", "-c", STOPPING, str(os.getpid()), str(STOPPED_S)]
    with subprocess.Popen(command) as stopper:
        assert stopper.wait(20) == 0
