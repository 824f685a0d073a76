"""Coverage-guided fuzzing of one target: `python -m tests.fuzz NAME --runs N [--seed N] [--seconds-per-input N]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds-per-input", type=int, default=5)
    parser.add_argument("--list", action="store_true")
    chosen = parser.parse_args()
    import atheris

    with atheris.instrument_imports(include=["agent", "authority", "drivers", "hal", "protocol"]):
        from tests.fuzz.targets import TARGETS
    targets = {target.name: target for target in TARGETS}
    if chosen.list or chosen.target not in targets:
        sys.stdout.write("\n".join(sorted(targets)) + "\n")
        sys.exit(0 if chosen.list else 2)
    target = targets[chosen.target]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        longest = 2 * max(len(seed) for seed in target.seeds) + 64
        limits = [f"-runs={chosen.runs}", f"-seed={chosen.seed}", f"-timeout={chosen.seconds_per_input}"]
        argv = [sys.argv[0], folder, *limits, f"-max_len={longest}", f"-artifact_prefix={folder}/"]
        argv += ["-print_final_stats=1", "-rss_limit_mb=4096"]
        atheris.Setup(argv, target.accepts)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
