from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from agent.threads import in_thread


def test_a_result_and_an_error_come_back() -> None:
    assert asyncio.run(in_thread(lambda a, b: a + b, 1, 2)) == 3
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(lambda: 1 / 0))


def test_work_that_hangs_takes_nobody_elses_place() -> None:
    """More of it than any pool has threads."""
    answer = threading.Event()

    async def crowd() -> int:
        hanging = [asyncio.ensure_future(in_thread(answer.wait, 20)) for _ in range(100)]
        await asyncio.sleep(0)
        result = await asyncio.wait_for(in_thread(lambda: 7), 10)
        answer.set()
        await asyncio.gather(*hanging)
        return result

    assert asyncio.run(crowd()) == 7


HANGING = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from agent.threads import leave
ThreadPoolExecutor(1).submit(threading.Event().wait)
print("done")
leave(3, 0.1)
"""


@pytest.mark.parametrize(("script", "status"), [(HANGING, 3), ("from agent.threads import leave; leave(4)", 4)])
def test_a_thread_that_hangs_does_not_keep_the_process(script: str, status: int) -> None:
    """The interpreter alone would wait for it for ever: a device that hangs would survive SIGTERM."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == status, done.stderr
    assert done.stdout == ("done\n" if status == 3 else "")
