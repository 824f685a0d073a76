"""How long a presentation takes, stage by stage, from the samples to the installed key, through real processes.

    python benchmarks/bench_presentation.py [--rounds 50] [--json]

One authority and two nodes on simulated devices and software TPMs. Before every round the operator isolates the node,
so that the accepted presentation brings it a key. Figures in milliseconds: median and 95th percentile.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path

from simulators.lab.policy import DEMO_POLICY
from simulators.lab.station import personas_of
from simulators.lab.watch import Watch
from simulators.lab.world import Node, World, wait_for

STAGES = {
    "features_fingerprint": "features: fingerprint",
    "features_face": "features: face, all frames",
    "features_voice": "features: voice",
    "unlock": "unlock: unseal, decrypt",
    "match": "match",
    "sign": "sign the token",
    "quote": "quote",
    "submit": "submit: appraisal, score, verdict",
    "since_verdict": "verdict to key installed",
    "since_captured": "last sample delivered to key installed",
}
CHANGES = {
    "min_s = 15 ": "min_s = 3600 ",
    "max_s = 40": "max_s = 3600",
    "recover_after = 2": "recover_after = 1",
    "stale_medium_s = 120": "stale_medium_s = 9000",
    "stale_low_s = 240": "stale_low_s = 9000",
}
"""What differs from the demo's policy: nobody is summoned by the clock, and one acceptance ends an isolation."""


def main() -> None:
    """Run the rounds and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kv-"))
    try:
        with World(folder, ["node-a", "node-b"], policy(), None) as world:
            figures = measure(world, options.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(figures, as_json=options.json)


def policy() -> str:
    """The demo's policy with `CHANGES`."""
    text = DEMO_POLICY
    for old, new in CHANGES.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def measure(world: World, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by stage, one entry a round; the first, cold presentation of the node is left out."""
    people = list(personas_of(None))
    world.raise_authority()
    for node, person, resource in zip(world.nodes, people, ("normal", "remediation"), strict=False):
        world.raise_station(node)
        world.join(node, resource)
        world.enrol(node, person)
        world.start_agent(node)
    watch = Watch(world.authority, lambda: None)
    watch.start()
    try:
        for node in world.nodes:
            present(world, watch, node)
        for _ in range(rounds):
            world.authority.call("node", "isolate", world.nodes[0].name)
            present(world, watch, world.nodes[0])
    finally:
        watch.close()
    return read(world.nodes[0], rounds)


def present(world: World, watch: Watch, node: Node) -> None:
    """One challenge, answered and followed by a delivery."""
    before = len(deliveries(node))
    watch.challenge(node.name)
    wait_for("a delivery", lambda: True if len(deliveries(node)) > before else None, 60, *world.children())


def deliveries(node: Node) -> list[dict[str, float]]:
    """The node's deliveries that followed a presentation."""
    return [entry for entry in timings(node) if entry["kind"] == "delivery"]


def timings(node: Node) -> list[dict[str, float]]:
    """Everything that the agent timed so far."""
    file = node.folder / "state" / "timings.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def read(node: Node, rounds: int) -> dict[str, list[float]]:
    """Join presentations with the first delivery that followed each."""
    rows: dict[str, dict[str, float]] = {}
    for entry in timings(node):
        rows.setdefault(str(entry["challenge_id"]), {}).update({**entry, **rows.get(str(entry["challenge_id"]), {})})
    complete = [row for row in rows.values() if "since_captured" in row and "submit" in row][-rounds:]
    return {name: [1000 * row[stage] for row in complete] for stage, name in STAGES.items()}


def report(figures: dict[str, list[float]], *, as_json: bool) -> None:
    """Print the table, or JSON."""
    summary = {
        name: {
            "rounds": len(values),
            "p50_ms": round(statistics.median(values), 1),
            "p95_ms": round(sorted(values)[max(0, round(0.95 * len(values)) - 1)], 1),
        }
        for name, values in figures.items()
    }
    if as_json:
        print(json.dumps(summary, indent=2))
        return
    for name, row in summary.items():
        print(f"{name:42} p50 {row['p50_ms']:8.1f} ms   p95 {row['p95_ms']:8.1f} ms   ({row['rounds']} rounds)")


if __name__ == "__main__":
    main()
