"""Orders over the whole fleet: how long the longest transaction keeps everybody else waiting.

A fleet in an SQLite file with five challenges a node in its past; every transaction is one of the store's, as the
authority makes them. An administrator with a profile at every node is revoked, and a policy comes into force that takes
every node a tier down, which is the dearest that one can do. CPU milliseconds of the store's transactions, the commit
included.

    python benchmarks/bench_passes.py [--nodes 1000 10000] [--past 5]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority import passes, policies, revoking
from authority.store import Store, schema
from authority.trust.policy import Caps
from benchmarks.bench_growth import CHUNK, FAR_S, Site

ADMIN = "eve"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--past", type=int, default=5)
    chosen = parser.parse_args(arguments)
    for nodes in chosen.nodes:
        print(json.dumps(measured(nodes, chosen.past)), flush=True)


def measured(nodes: int, past: int) -> dict[str, Any]:
    """Both orders over one fleet, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'authority.db'}")
        try:
            return {"nodes": nodes} | _orders(store, nodes, past)
        finally:
            store.close()


def _orders(store: Store, nodes: int, past: int) -> dict[str, Any]:
    site = store.run(lambda conn: _filled(conn, nodes, past))
    rt, now = site.world.rt, site.world.clock
    caps = Caps(unowned_tpm=300, one_failure=300, stale_medium_s=60.0, stale_low_s=120.0)
    policy = msgspec.structs.replace(rt.policy, version="stricter", caps=caps)

    def revoke(conn: Connection) -> None:
        revoking.revoke_everywhere(conn, ADMIN, "ann", "left", now)

    def adopt(conn: Connection) -> None:
        policies.adopt(conn, rt, policy, "ann", now)

    def go_on(conn: Connection) -> bool:
        return passes.go_on(conn, rt, now)[1]

    return {"revoked": _timed(store, revoke, go_on), "policy": _timed(store, adopt, go_on)}


def _timed(store: Store, order: Callable[[Connection], None], go_on: Callable[[Connection], bool]) -> dict[str, Any]:
    spent, more = [], True
    begun = time.process_time()
    store.run(order)
    spent.append(time.process_time() - begun)
    while more:
        begun = time.process_time()
        more = store.run(go_on)
        spent.append(time.process_time() - begun)
    return {
        "transactions": len(spent),
        "first_ms": _ms(spent[0]),
        "longest_ms": _ms(max(spent)),
        "median_ms": _ms(sorted(spent)[len(spent) // 2]),
        "cpu_s": round(sum(spent), 2),
    }


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


def _filled(conn: Connection, nodes: int, past: int) -> Site:
    site = Site(conn, nodes, past)
    conn.execute(insert(schema.administrator).values(name=ADMIN, created_at=0.0))
    row = {"admin": ADMIN, "state": "active", "nonce": b"", "release_share": bytes(60), "created_at": 0.0}
    for at in range(0, nodes, CHUNK):
        keyed = [{"record_id": each[::-1][:32], "enrolment_id": each[32:], "node_id": each} for each in site.ids]
        conn.execute(insert(schema.profile), [{**row, **each, "expires_at": FAR_S} for each in keyed[at : at + CHUNK]])
    return site


if __name__ == "__main__":
    main()
