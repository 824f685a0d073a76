"""Every byte parser under hostile bytes: refused, or parsed; never a builtin exception, never a hang."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz._mutations import mutations
from tests.fuzz._target import Target
from tests.fuzz.targets import TARGETS

QUICK, FULL, PARTS = 2_000, 1_000_000, 4
"""A million inputs run in several processes, since the fuzzer itself grows with every input."""

SECONDS = 900

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@each_target
def test_well_formed_bytes_are_accepted_so_that_the_search_starts_inside(target: Target) -> None:
    assert target.seeds
    assert [target.accepts(seed) for seed in target.seeds] == [True] * len(target.seeds)


@each_target
def test_mutated_bytes_are_refused_in_the_parser_s_own_words(target: Target) -> None:
    outcomes = [target.accepts(data) for data in mutations(target.seeds, QUICK, seed=1)]
    assert not all(outcomes)


def test_a_parser_that_lets_a_builtin_exception_out_is_found() -> None:
    careless = Target("careless", lambda data: data[7], (ValueError,), (bytes(8),))
    with pytest.raises(IndexError):
        [careless.accepts(data) for data in mutations(careless.seeds, QUICK, seed=1)]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("part", range(PARTS))
@each_target
def test_a_million_inputs_with_coverage_guidance(target: Target, part: int, tmp_path: Path) -> None:
    # The fuzzer ends its process by itself and leaves what it found in its temporary folder.
    quiet = {**os.environ, "TMPDIR": str(tmp_path), "TSS2_LOG": "all+NONE"}
    argv = [sys.executable, "-m", "tests.fuzz", target.name, "--runs", str(FULL // PARTS), "--seed", str(part + 1)]
    done = subprocess.run(argv, check=False, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    assert executed, done.stderr[-3000:]
    assert int(executed[1]) >= FULL // PARTS
