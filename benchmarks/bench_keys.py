"""What the authority's key work costs in CPU time, with few key versions in its database and with thousands.

    python benchmarks/bench_keys.py [--seconds 0.5] [--versions 10,10000] [--members 2,10,50] [--json]

Operations per second of CPU time of this process. `rotate` and `open` go through the database, in a file of the
temporary folder; `destroyed` versions are rows that a network of that age has, `live outdated` ones open as well.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, insert

from authority.keys import FileKek, create_network, reconcile, rotate_versions, versions
from authority.keys.kek import version_context
from authority.keys.sealing import seal_to
from authority.keys.shredding import ShredKeys
from authority.runtime import Runtime
from authority.store import Store, schema
from authority.trust import default_policy, parse_policy
from protocol.key_schedule import PairContext, derive_pair_key
from protocol.levels import ResourceClass

BUNDLE_BYTES = 2304
"""As many keys and SPIs as 64 associations have."""


def per_second(work: Callable[[], object], seconds: float) -> float:
    """How often `work` runs in a second of CPU time."""
    work()
    done, begun = 0, time.process_time()
    while (spent := time.process_time() - begun) < seconds:
        work()
        done += 1
    return done / spent


def runtime(folder: Path) -> Runtime:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    shreds = ShredKeys(folder / "shreds")
    kek = FileKek(os.urandom(32))
    return Runtime(default_policy(), time.time, os.urandom, kek, keys[0], keys[1], 1, shreds=shreds)


def primitives(rt: Runtime, seconds: float) -> dict[str, float]:
    recipient, secret = ec.generate_private_key(ec.SECP256R1()).public_key(), os.urandom(32)
    pair = PairContext("core", 3, "a" * 64, "b" * 64, ResourceClass.NORMAL, 7, 1, bytes(16))
    context = version_context("core", 3)
    wrapped = rt.kek.wrap(secret, context)
    return {
        "pair keys derived": per_second(lambda: derive_pair_key(secret, pair), seconds),
        "HPKE seals": per_second(lambda: seal_to(recipient, b"info", bytes(BUNDLE_BYTES)), seconds),
        "KEK wraps": per_second(lambda: rt.kek.wrap(secret, context), seconds),
        "KEK unwraps": per_second(lambda: rt.kek.unwrap(wrapped, context), seconds),
    }


def aged(conn: Connection, rt: Runtime, count: int) -> None:
    """A network with `count` versions: a tenth of them outdated and alive, the others destroyed."""
    create_network(conn, rt, "core", 1.0)
    row = {"network": "core", "created_at": 1.0, "moved_at": 1.0, "shred_id": "", "kek_id": rt.kek.kek_id}
    rows = []
    for number in range(4, count + 1):
        alive = number % 10 == 0
        wrapped = rt.kek.wrap(os.urandom(32), version_context("core", number)) if alive else b""
        rows.append({**row, "version": number, "state": "outdated" if alive else "destroyed", "wrapped": wrapped})
    for begin in range(0, len(rows), 1000):
        conn.execute(insert(schema.key_version), rows[begin : begin + 1000])


def with_versions(rt: Runtime, store: Store, count: int, seconds: float) -> dict[str, float]:
    rt = replace(rt, policy=parse_policy('version = "bench"\n[versions]\noutdated_kept = 10000\n'))
    store.run(lambda conn: aged(conn, rt, count))
    latest = store.run(lambda conn: versions.numbers_by_state(conn, "core"))
    number = max(latest.values())
    work: dict[str, Callable[[Connection], object]] = {
        "version look-ups": lambda conn: versions.numbers_by_state(conn, "core"),
        "versions opened": lambda conn: versions.open_secret(conn, rt, "core", number),
        "rotations": lambda conn: rotate_versions(conn, rt, "core", "bench", 2.0),
    }
    return {name: per_second(lambda one=one: store.run(one), seconds) for name, one in work.items()}


def member_rows(conn: Connection, rt: Runtime, count: int) -> None:
    create_network(conn, rt, "mesh", 1.0)
    for index in range(count):
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        node = {"id": f"{index:064x}", "name": f"n{index}", "state": "active", "lab": False, "score": 900}
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        blobs = {"ek_public": b"", "ak_public": b"", "delivery_public": point, "enclave_kind": "software"}
        rest = {"certificate_sha256": "", "certificate_not_after": 0.0, "reference_pcrs": "{}", "devices": "[]"}
        conn.execute(insert(schema.node).values(**node, **blobs, **rest, joined_at=1.0))
        place = {"network": "mesh", "node_id": node["id"], "address": f"10.{index >> 8}.{index & 255}.1"}
        conn.execute(insert(schema.member).values(**place, resource_class="normal", slot=index + 1))


def demotion(rt: Runtime, store: Store, count: int) -> dict[str, float]:
    """CPU milliseconds from a changed standing to deliveries that are stored, in a full mesh."""
    store.run(lambda conn: member_rows(conn, rt, count))
    store.run(lambda conn: reconcile(conn, rt, "mesh", 2.0))
    begun = time.process_time()

    def fall(conn: Connection) -> int:
        conn.execute(schema.node.update().where(schema.node.c.id == f"{0:064x}").values(state="isolated"))
        return len(reconcile(conn, rt, "mesh", 3.0, advance=frozenset({f"{0:064x}"})))

    deliveries = store.run(fall)
    return {"deliveries": deliveries, "cpu_ms": (time.process_time() - begun) * 1000}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {"versions": {}, "demotion": {}}
    with tempfile.TemporaryDirectory() as name:
        rt = runtime(Path(name))
        found["per CPU second"] = primitives(rt, options.seconds)
        for count in options.versions:
            store = Store(f"sqlite:///{name}/versions-{count}.db")
            found["versions"][count] = with_versions(rt, store, count, options.seconds)
            store.close()
        for count in options.members:
            store = Store(f"sqlite:///{name}/members-{count}.db")
            found["demotion"][count] = demotion(rt, store, count)
            store.close()
    return found


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--versions", type=numbers, default=[10, 10_000])
    parser.add_argument("--members", type=numbers, default=[2, 10, 50])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, rate in found["per CPU second"].items():
        print(f"{name:>24}: {rate:12,.0f} per CPU second")
    for count, rates in found["versions"].items():
        for name, rate in rates.items():
            print(f"{name:>24}: {rate:12,.0f} per CPU second with {count:,} versions")
    for count, figures in found["demotion"].items():
        cost = f"{figures['cpu_ms']:12,.1f} CPU ms, {figures['deliveries']} deliveries"
        print(f"{'isolation':>24}: {cost}, {count} members")


if __name__ == "__main__":
    main()
