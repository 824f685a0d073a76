"""Many nodes in one process, driven by `bench_connections.py`: one order and one answer a line, both JSON.

    python benchmarks/many_nodes.py FOLDER URL

Each node keeps its WebSocket by the agent's own code, back-off included, over mutual TLS with a certificate of its own
(`FOLDER/node-N.pem`). Attestations are sent from `FOLDER/attestations.jsonl`, made beforehand.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from agent.config import ConnectionSection
from agent.events import EventStream
from agent.identity import pinned_context
from agent.log import LOGGER_NAME

Answer = dict[str, Any]
Made = tuple[int, list[str]]
"""Number of a node, and the bodies of attestations of it."""


class Failures(logging.Handler):
    """Counts why connections failed, as the agent's log has it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.causes: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        cause = getattr(record, "fields", {}).get("error", record.getMessage())
        self.causes["".join(char for char in cause if not char.isdigit())[:60]] += 1


class Fleet:
    """Nodes by number, from 0."""

    def __init__(self, folder: Path, url: str, failures: Failures) -> None:
        self._folder, self._url, self._failures = folder, url, failures
        self._roots = (folder / "ca.pem").read_text()
        self._tasks: list[asyncio.Task[None]] = []
        self._connected: set[int] = set()
        self._changed = asyncio.Condition()
        self._made = _made(folder / "attestations.jsonl")

    async def connect(self, nodes: int, at_once: int) -> Answer:
        """Connect so many nodes, `at_once` of them under way at a time."""
        begun = self._begin()
        for number in range(len(self._tasks), nodes):
            await self._until(lambda least=number - at_once: len(self._connected) > least)  # type: ignore[misc]
            self._tasks.append(asyncio.create_task(self._stay(number)))
        await self._until(lambda: len(self._connected) == nodes)
        return self._told(begun)

    async def come_back(self) -> Answer:
        """To be asked when the authority was killed: every connection is lost; wait until all are there again."""
        begun, nodes, course = self._begin(), len(self._tasks), {}
        self._connected.clear()
        for percent in (50, 90, 99):
            await self._until(lambda least=percent * nodes / 100: len(self._connected) >= least)  # type: ignore[misc]
            course[f"{percent} % after s"] = round(time.monotonic() - begun, 1)
        await self._until(lambda: len(self._connected) == nodes)
        return self._told(begun) | course

    async def attest(self, nodes: int, workers: int, *, kept: bool) -> Answer:
        """Send the attestations of the next so many nodes, of `workers` at a time.

        Over one connection a node that is `kept`; or over one each, as an agent does whose own is idle by then.
        """
        made, said = islice(self._made, nodes), Counter[str]()
        taken: list[float] = []
        begun = time.monotonic()
        await asyncio.gather(*(self._send(made, taken, said, kept=kept) for _ in range(workers)))
        cuts = statistics.quantiles(taken, n=100)
        figures = {"p50_ms": round(1000 * cuts[49], 2), "p99_ms": round(1000 * cuts[98], 2)}
        return {"seconds": round(time.monotonic() - begun, 2), "outcomes": dict(said)} | figures

    async def _stay(self, number: int) -> None:
        stream = EventStream(self._url, lambda: self._context(number), ConnectionSection(), partial(self._note, number))
        async for _ in stream.events():
            pass

    async def _note(self, number: int) -> None:
        async with self._changed:
            self._connected.add(number)
            self._changed.notify_all()

    async def _until(self, met: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(met)

    def _begin(self) -> float:
        self._failures.causes = Counter()
        return time.monotonic()

    def _told(self, begun: float) -> Answer:
        causes = dict(self._failures.causes.most_common(6))
        return {"seconds": round(time.monotonic() - begun, 1), "failures": causes}

    def _context(self, number: int) -> ssl.SSLContext:
        made = pinned_context(self._roots)
        made.load_cert_chain(self._folder / f"node-{number}.pem")
        return made

    async def _send(self, made: Iterator[Made], taken: list[float], said: Counter[str], *, kept: bool) -> None:
        for number, bodies in made:
            link = await self._open(number) if kept else None
            for body in bodies:
                begun = time.perf_counter()
                used = link or await self._open(number)
                said[await _post(*used, body)] += 1
                taken.append(time.perf_counter() - begun)
                if link is None:
                    used[1].transport.abort()
            if link is not None:
                link[1].transport.abort()

    async def _open(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = urlsplit(self._url)
        return await asyncio.open_connection(place.hostname, place.port, ssl=self._context(number))


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: str) -> str:
    """The outcome of an attestation, or the status of a refusal."""
    head = (
        f"POST /v1/attest HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body.encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(int(line.split(":")[1]) for line in answer.split("\r\n") if line.startswith("content-length:"))
    said: dict[str, Any] = json.loads(await reader.readexactly(length))
    return str(said.get("outcome", answer.split()[1]))


def _made(file: Path) -> Iterator[Made]:
    with file.open() as lines:
        for line in lines:
            number, bodies = json.loads(line)
            yield number, bodies


async def _obey(fleet: Fleet) -> None:
    """One order after the other, until there are no more."""
    loop = asyncio.get_running_loop()
    orders: dict[str, Callable[..., Awaitable[Answer]]]
    orders = {"connect": fleet.connect, "come_back": fleet.come_back, "attest": fleet.attest}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        print(json.dumps(await orders[order.pop("do")](**order)), flush=True)


def main() -> None:
    """Obey until standard input ends."""
    failures, logger = Failures(), logging.getLogger(LOGGER_NAME)
    logger.addHandler(failures)
    logger.propagate = False
    fleet = Fleet(Path(sys.argv[1]), sys.argv[2], failures)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_obey(fleet))


if __name__ == "__main__":
    main()
