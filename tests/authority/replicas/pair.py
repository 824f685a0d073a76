"""Two replicas' way to one database, and a node that answers through either."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authority.keys import FileKek
from authority.pki import CertificateAuthority
from authority.store import Store
from authority.trust import parse_policy
from drivers.software_enclave import SoftwareEnclaveDriver
from tests.authority.nodes import Site, random_bytes
from tests.authority.statement_nodes import StatementMachine

POLICY = parse_policy('version = "r"\n[enclaves]\nallowed = ["software"]\n[caps]\nsoftware_enclave = 800')


@dataclass
class Pair:
    """`sites` are two replicas; `node` has joined and somebody is enrolled at it."""

    sites: tuple[Site, Site]
    node: StatementMachine

    @classmethod
    @contextmanager
    def made(cls, folder: Path, stores: tuple[Store, Store]) -> Iterator[Pair]:
        ca = CertificateAuthority.create(folder / "ca", ["localhost"], 1_000_000_000.0)
        kek = FileKek(random_bytes(32))
        first, second = (Site(store, ca, kek, policy=POLICY) for store in stores)
        second.clock = first.clock
        with SoftwareEnclaveDriver().open({"folder": str(folder / "n1")}) as enclave:
            node = StatementMachine("n1", enclave)
            node.join(first)
            node.enrol(first)
            yield cls((first, second), node)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each gives, or the exception that it raises, when all begin at the same moment on threads of their own."""
    ready, found = threading.Barrier(len(works)), [None] * len(works)

    def begin(number: int, work: Callable[[], Any]) -> None:
        ready.wait()
        try:
            found[number] = work()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=begin, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
