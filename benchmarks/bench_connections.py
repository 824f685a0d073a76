"""An authority that thousands of nodes are connected to: memory, idle CPU, a storm of reconnections, attestations.

The authority is the real command with a state folder of its own; the nodes (`many_nodes.py`) are one other process,
each with a certificate of the authority's CA and one connection that the agent's own code keeps. Quotes are made
beforehand by attestation keys in software; memory and CPU are the authority's alone, from /proc.

    python benchmarks/bench_connections.py [--nodes 5000] [--database sqlite|postgresql] [--attesting 200] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, insert

sys.path.insert(0, str(Path(__file__).parent.parent))

from authority import references, standing
from authority.config import load_site
from authority.pki import key_pem, thumbprint
from authority.references import Kind
from authority.runtime import Runtime
from authority.scheduler import ATTEST_PURPOSE
from authority.service import Authority, open_authority
from authority.store import schema
from authority.trust import PresentationKind
from protocol.codec import encode
from protocol.digests import attest_digest
from protocol.messages import AttestSubmission, QuoteEvidence
from simulators.lab.ports import free_port
from simulators.lab.postgres import PostgresServer
from simulators.lab.processes import Child, command, run
from tests.authority.tpm import forge

YEAR_S = 365 * 86400.0
SELECTION = (0, 2, 4, 7)
PCRS = {pcr: bytes([pcr]) * 32 for pcr in SELECTION}
CHUNK = 500
EACH = 20
"""Attestations of a node that attests."""
WORKERS = (1, 16)
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PATIENCE_S = 900.0


class Site:
    """A state folder in which so many nodes are registered; the first of them have made `EACH` attestations."""

    def __init__(self, folder: Path, nodes: int, attesting: int, database: Sequence[str]) -> None:
        self.folder, self.port, self._forger = folder, free_port(), forge.Forger()
        ports = ["--node-port", str(self.port), "--operator-port", str(free_port())]
        state, where = folder / "state", ["--name", "127.0.0.1", "--listen", "127.0.0.1"]
        argv = [command("keyvigil-authority"), "init", *where, *ports, *database, "--state", os.fspath(state)]
        run(argv, timeout=PATIENCE_S)
        serve = [command("keyvigil-authority"), "serve", "--state", os.fspath(state)]
        self.server = Child("authority", serve, folder / "authority.log")
        (folder / "ca.pem").write_bytes((state / "ca" / "ca.pem").read_bytes())
        self._fill(nodes, attesting)

    def start(self) -> None:
        """Serve; returns when the node plane listens."""
        self.server.start()
        wait_for(self._serves)

    def _serves(self) -> bool:
        self.server.check()
        return "serving" in self.server.log.read_text()

    def _fill(self, nodes: int, attesting: int) -> None:
        authority = open_authority(load_site(self.folder / "state"))
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
        request = csr.public_bytes(Encoding.DER)
        try:
            for first in range(0, nodes, CHUNK):
                enter = partial(self._register, authority, range(first, min(first + CHUNK, nodes)), request, key)
                authority.store.run(enter)
            with (self.folder / "attestations.jsonl").open("w") as file:
                for number in range(attesting):
                    bodies = authority.store.run(partial(self._attestations, authority.runtime, number))
                    file.write(json.dumps([number, bodies]) + "\n")
        finally:
            authority.store.close()

    def _register(
        self, authority: Authority, numbers: range, csr: bytes, key: ec.EllipticCurvePrivateKey, conn: Connection
    ) -> None:
        """Active nodes that nothing is asked of while the benchmark lasts."""
        for number in numbers:
            now = authority.runtime.now()
            certificate = authority.ca.issue_node(csr, f"n{number}", node_id_of(number), now, YEAR_S)
            (self.folder / f"node-{number}.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + key_pem(key))
            self._enter(conn, authority.runtime, number, thumbprint(certificate), now)

    def _enter(self, conn: Connection, rt: Runtime, number: int, certificate: str, now: float) -> None:
        node_id = node_id_of(number)
        values = {"id": node_id, "name": f"n{number}", "state": "pending", "lab": False, "ownership": "taken"}
        values |= {"certificate_sha256": certificate, "certificate_not_after": now + YEAR_S, "devices": "[]"}
        values |= {"ek_public": b"", "ak_public": self._forger.public, "delivery_public": b"", "joined_at": now}
        conn.execute(insert(schema.node).values(**values, reference_pcrs="{}"))
        references.learn(conn, node_id, Kind.PCRS, {str(pcr): value.hex() for pcr, value in PCRS.items()}, now)
        later = {"next_challenge_at": now + YEAR_S, "next_attest_at": now + YEAR_S}
        conn.execute(insert(schema.schedule).values(node_id=node_id, epoch=0, **later))
        accepted = PresentationKind.ACCEPTED
        standing.record_presentation(conn, rt, node_id, f"{number:032x}", accepted, 900, 900, now)

    def _attestations(self, rt: Runtime, number: int, conn: Connection) -> list[str]:
        node_id, made = node_id_of(number), []
        for _ in range(EACH):
            nonce = rt.random(32)
            row = {"value": nonce.hex(), "node_id": node_id, "purpose": ATTEST_PURPOSE}
            conn.execute(insert(schema.nonce).values(**row, expires_at=rt.now() + YEAR_S))
            made.append(encode(self._attestation(node_id, nonce)).decode())
        return made

    def _attestation(self, node_id: str, nonce: bytes) -> AttestSubmission:
        chosen, values = forge.selection((forge.SHA256, SELECTION)), [*PCRS.values()]
        attest = self._forger.quote(chosen, forge.pcr_digest(values), extra=attest_digest(node_id, nonce))
        return AttestSubmission(nonce=nonce, quote=QuoteEvidence(attest, self._forger.sign(attest), PCRS))


class Nodes:
    """The process that all nodes are in."""

    def __init__(self, site: Site) -> None:
        program = Path(__file__).with_name("many_nodes.py")
        argv = [sys.executable, os.fspath(program), os.fspath(site.folder), f"https://127.0.0.1:{site.port}"]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def order(self, do: str, **arguments: Any) -> None:
        """Have something done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do} | arguments) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What became of it."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the nodes' process ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def done(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have something done, and wait for it."""
        self.order(do, **arguments)
        return self.answer()

    def end(self) -> None:
        """All connections end."""
        self._process.kill()
        self._process.communicate()


def measured(folder: Path, nodes: int, attesting: int, idle_s: float, database: Sequence[str]) -> dict[str, Any]:
    """All figures of one authority."""
    site = Site(folder, nodes, attesting * len(WORKERS) * 2, database)
    site.start()
    fleet = Nodes(site)
    try:
        found: dict[str, Any] = {"nodes": nodes, "attestations": attestations(site, fleet, attesting)}
        found |= connections(site, fleet, nodes, idle_s)
        found["storm"] = storm(site, fleet)
    finally:
        fleet.end()
        site.server.stop()
    return found


def attestations(site: Site, fleet: Nodes, attesting: int) -> list[dict[str, Any]]:
    """Attestations over connections that are kept and that are not, one at a time and several."""
    found = []
    for kept in (True, False):
        for workers in WORKERS:
            begun = cpu_s(site.server.pid)
            told = fleet.done("attest", nodes=attesting, workers=workers, kept=kept)
            each = (cpu_s(site.server.pid) - begun) / (attesting * EACH)
            figures = {"cpu_ms": round(1000 * each, 2), "per_core_s": round(1 / each)}
            found.append({"kept": kept, "workers": workers} | figures | told)
    return found


def connections(site: Site, fleet: Nodes, nodes: int, idle_s: float) -> dict[str, Any]:
    """Memory and idle CPU of the authority without nodes and with all of them."""
    pid = site.server.pid
    empty, idle = resident_kb(pid), cpu_of(pid, idle_s)
    begun = cpu_s(pid)
    connected = fleet.done("connect", nodes=nodes, at_once=200) | {"cpu_s": round(cpu_s(pid) - begun, 1)}
    full, busy = resident_kb(pid), cpu_of(pid, idle_s)
    return {
        "connecting": connected,
        "memory_mb": [round(each / 1024, 1) for each in (empty, full)],
        "kb_per_idle_node": round((full - empty) / nodes, 1),
        "idle_cpu_percent": [round(100 * each, 2) for each in (idle, busy)],
        "idle_cpu_ms_per_node_minute": round(60_000 * (busy - idle) / nodes, 2),
    }


def storm(site: Site, fleet: Nodes) -> dict[str, Any]:
    """Kill the authority, start it again, and wait for everybody."""
    site.server.kill()
    (site.folder / "authority.log").unlink()
    fleet.order("come_back")
    begun = time.monotonic()
    site.start()
    serving = time.monotonic() - begun
    told = fleet.answer()
    peak = site.server.peak_memory_mb() or 0.0
    figures = {"serving_after_s": round(serving, 1), "cpu_s": round(cpu_s(site.server.pid), 1)}
    return figures | told | {"peak_memory_mb": round(peak, 1)}


def node_id_of(number: int) -> str:
    """The id of a node."""
    return f"{number:064x}"


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, of user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def cpu_of(pid: int, seconds: float) -> float:
    """The share of a core that a process uses while it is left alone."""
    begun, at = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_s(pid) - begun) / (time.monotonic() - at)


def resident_kb(pid: int) -> int:
    """Resident memory (VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def wait_for(met: Callable[[], bool]) -> None:
    """Look again and again, for `PATIENCE_S` at most."""
    give_up = time.monotonic() + PATIENCE_S
    while not met():
        if time.monotonic() > give_up:
            raise SystemExit("the authority does not serve")
        time.sleep(0.05)


@contextmanager
def database_options(kind: str, folder: Path) -> Iterator[list[str]]:
    """What `init` is told of the database."""
    if kind == "sqlite":
        yield []
        return
    server = PostgresServer(folder / "server").create().start()
    try:
        server.sql("CREATE DATABASE bench")
        yield ["--database", server.url("bench")]
    finally:
        server.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument(
        "--attesting", type=int, default=200, help=f"nodes that attest {EACH} times in each measurement"
    )
    parser.add_argument("--idle", type=float, default=60.0, help="seconds for which the idle CPU is measured")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        options = stack.enter_context(database_options(chosen.database, folder))
        found = {"database": chosen.database} | measured(folder, chosen.nodes, chosen.attesting, chosen.idle, options)
    print(json.dumps(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
