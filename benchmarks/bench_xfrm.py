"""How long the xfrm sink takes from a bundle to states and policies in a kernel that has ESP (User-Mode Linux).

    python benchmarks/bench_xfrm.py [--peers 10 100 500] [--json]

Steps of one rotation in which every peer takes part; figures in milliseconds, medians of five. User-Mode Linux pays for
every system call with two switches of the process that plays the machine: on hardware all of this is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from simulators.lab.user_mode import missing
from tests.uml.machine import run

STATES = {"first": 2, "prepare": 1, "switch": 1}
"""States that a step makes, a peer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, nargs="+", default=[10, 100, 500])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if reason := missing():
        raise SystemExit(f"error: {reason}; install it with tools/install-packages")
    with tempfile.TemporaryDirectory() as folder:
        result = run("run_figures", Path(folder), *arguments.peers)
    for size, steps in result["sizes"].items():
        for name, count in STATES.items():
            steps[name]["states_per_s"] = round(int(size) * count / steps[name]["wall_ms"] * 1000)
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(f"first installation after boot: {result['first_ms']:.0f} ms (the kernel seeds its generator)")
    for size, steps in result["sizes"].items():
        for name, figures in steps.items():
            rate = f", {figures['states_per_s']} states/s" if "states_per_s" in figures else ""
            print(f"{size:>5} peers  {name:<10} {figures['wall_ms']:9.1f} ms, of it CPU {figures['cpu_ms']:9.1f}{rate}")


if __name__ == "__main__":
    main()
