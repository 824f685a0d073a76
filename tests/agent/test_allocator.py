"""Freed memory goes back to the system: in a process of its own, because the setting is for good."""

from __future__ import annotations

import subprocess
import sys

MEASURE = """
import sys
from agent.allocator import return_freed_memory

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4

if sys.argv[1] == "set":
    assert return_freed_memory()
large = b"\x01" * (20 << 20)
del large
kept = [b"\x01" * (2 << 20) + bytes([number]) for number in range(8)]
last = kept.pop()
del kept
print(resident())
"""


def resident_kib(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", MEASURE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_what_is_freed_below_a_block_in_use_goes_back_to_the_system() -> None:
    assert resident_kib("set") + 8_000 < resident_kib("default")
