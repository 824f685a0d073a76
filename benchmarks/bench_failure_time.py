"""Whether the time of a failure report tells what failed: presentations before a software TPM, each way in turn.

    python benchmarks/bench_failure_time.py [--rounds 40] [--json]

For each way to fail, the mean and spread of the moment at which its report is ready, in milliseconds since the
activation; and Welch's t of each pair of ways, the largest of which is shown (leakage is assumed above 4.5: Goodwill,
Jun, Jaffe, Rohatgi, "A testing methodology for side-channel resistance validation", 2011). Once as the agent does it,
and once with reports that leave as soon as they can. Here a report leaves at 2.5 s, so that the runs are short.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).parent.parent))

from agent.clocks import StoppableClock
from agent.enclave import EnclaveGate
from agent.failing import REPORT_S, ReportTime
from agent.profile import ProfileVault
from agent.state import StateDirectory
from agent.timings import Stopwatch
from authority.tpm import Guard, reset_message
from drivers.tpm2 import Tpm2Driver
from protocol.guard import PIN_LIMIT
from simulators.devices.swtpm import Swtpm
from tests.agent.people import QuietPrompter
from tests.agent.sealing import Node, text_draft
from tests.agent.test_presentation import GENUINE, RECORD, Stage
from tests.agent.test_uniform_failure import FAILURES
from tests.agent.world import Tpm, delivery_key, raw_signature

REPORT_AT_S = 2.5
DEADLINES_S = {"held back": REPORT_AT_S + REPORT_S, "as soon as they can": 0.0}
Samples = dict[str, list[float]]


def staged(folder: Path, swtpm: Swtpm) -> Stage:
    """A node with alice enrolled."""
    state = StateDirectory.open(folder / "state")
    clock = StoppableClock(threading.Event())
    gate = EnclaveGate(state, Tpm(swtpm, Tpm2Driver()).open, clock)
    node = Node(gate, state, ProfileVault(state, os.urandom))
    sealed = node.enrol(text_draft(RECORD, {name: line[0] for name, line in GENUINE.items()}))
    with gate.use() as enclave:
        delivery, ak = delivery_key(enclave), enclave.attestation_key()
    return Stage(node, node.vault, gate, sealed.key.certified.public, ak, QuietPrompter(), clock, delivery)


def moment(stage: Stage, way: str, deadline_s: float) -> float:
    """Milliseconds from the activation until the report of one failure is ready."""
    activation, watch = stage.activation(), Stopwatch()
    report = ReportTime(watch, stage.clock, deadline_s)
    answer = stage.present(FAILURES[way], begun=activation, watch=watch, report=report, capture_timeout_s=0.05)
    if answer.failure is None:
        raise SystemExit(f"{way} did not fail")
    return 1000 * watch.elapsed()


def unlock(stage: Stage) -> None:
    """Set the key's count of failures back, as the authority does it."""
    key, holder = stage.vault.header(RECORD).key, stage.node.holder
    if key.guard is None:
        raise SystemExit("the profile key has no guard")
    with stage.gate.use() as enclave:
        guard = Guard(RECORD, holder.point, key.guard.change[:65])
        message = reset_message(key.reset_nonce(enclave), key.guard.public, guard, PIN_LIMIT)
        key.reset(enclave, raw_signature(holder.approval_key, message))


def welch(one: list[float], other: list[float]) -> float:
    """Welch's t of two samples, as a magnitude."""
    error = sqrt(stdev(one) ** 2 / len(one) + stdev(other) ** 2 / len(other))
    return abs(fmean(one) - fmean(other)) / error


def measure(stage: Stage, deadline_s: float, rounds: int) -> Samples:
    """Ways by turns, so that a busy machine is as slow for each."""
    found: Samples = {way: [] for way in FAILURES}
    for _ in range(rounds):
        for way, moments in found.items():
            moments.append(moment(stage, way, deadline_s))
        unlock(stage)
    return found


def summary(found: Samples) -> dict[str, object]:
    """Numbers of one variant."""
    pairs = {f"{a} / {b}": welch(found[a], found[b]) for a, b in combinations(found, 2)}
    worst = max(pairs, key=lambda pair: pairs[pair])
    ways = {way: {"mean": round(fmean(line), 2), "sd": round(stdev(line), 2)} for way, line in found.items()}
    return {"ways": ways, "largest t": round(pairs[worst], 2), "between": worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="failures of each way (40)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tpm").mkdir(mode=0o700)
        with Swtpm(Path(folder) / "tpm") as swtpm:
            stage = staged(Path(folder), swtpm)
            results = {name: summary(measure(stage, at, given.rounds)) for name, at in DEADLINES_S.items()}
    print(json.dumps(results, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
