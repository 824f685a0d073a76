"""The thread that a library is entered by: order, deadlines, tidying up, and what a fork leaves."""

from __future__ import annotations

import os
import threading

import pytest

from drivers.worker import Worker
from hal import Disconnected, TimedOut


def test_work_runs_in_order_on_one_thread():
    worker, seen = Worker("w"), []
    for number in range(5):
        worker.call("counting", lambda number=number: seen.append((number, threading.get_ident())), 5)
    worker.end()
    assert [number for number, _ in seen] == [*range(5)]
    assert len({thread for _, thread in seen}) == 1 and seen[0][1] != threading.get_ident()


def test_what_the_work_raises_is_raised_to_the_one_who_asked():
    worker = Worker("w")
    with pytest.raises(ZeroDivisionError):
        worker.call("dividing", lambda: 1 // 0, 5)
    with pytest.raises(TimeoutError, match="its own"):
        worker.call("timing", lambda: (_ for _ in ()).throw(TimeoutError("its own")), 5)
    assert worker.call("answering", lambda: 1, 5) == 1
    worker.end()


def test_a_stall_times_out_and_what_was_queued_to_tidy_up_runs_when_it_ends():
    worker, release, tidied, begun = Worker("w"), threading.Event(), threading.Event(), threading.Event()

    def stall() -> None:
        begun.set()
        release.wait(10)

    with pytest.raises(TimedOut, match="stalling"):
        worker.call("stalling", stall, 0.05)
    assert begun.is_set()
    never = threading.Event()
    with pytest.raises(TimedOut, match="queued"):
        worker.call("what was queued", never.set, 0.05)
    done = worker.post(tidied.set)
    release.set()
    done.result(5)
    assert tidied.is_set() and not never.is_set()
    assert worker.call("answering", lambda: 1, 5) == 1
    worker.end()


def test_ending_ends_the_thread():
    worker = Worker("a worker that ends")
    (thread,) = [one for one in threading.enumerate() if one.name == "a worker that ends"]
    worker.end()
    thread.join(5)
    assert not thread.is_alive()


def test_a_forked_process_is_told_that_the_thread_is_not_there():
    worker = Worker("w")
    child = os.fork()
    if child == 0:
        try:
            worker.call("asking", lambda: 1, 5)
        except Disconnected:
            worker.post(lambda: os._exit(2)).result(0)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    worker.end()
