"""PostgreSQL servers of the lab's own: made in a folder, by nobody in particular, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from simulators.lab.ports import free_port
from simulators.lab.processes import Child, LabError, run

USER = "keyvigil"
_UNPRIVILEGED = "nobody"
_PLACES = "/usr/lib/postgresql"
_START_S = 180.0
_RUN_S = 600.0
"""Making a server is half a second of work, which a busy machine takes its time for."""
_CALM: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "wal_level": "replica",
    "hot_standby": "on",
    "max_wal_senders": "4",
}


def binaries() -> Path | None:
    """The folder of the newest server's commands; none where no server is installed."""
    found = [each for each in Path(_PLACES).glob("*/bin") if (each / "initdb").exists()]
    on_path = shutil.which("initdb")
    if not found:
        return Path(on_path).resolve().parent if on_path else None
    return max(found, key=lambda each: int(each.parent.name) if each.parent.name.isdecimal() else 0)


@dataclass
class PostgresServer:
    """One server in `folder`, on a port of loopback. It refuses to be root's: root runs it as `nobody`.

    `durable` waits for the disk, as a site's server does; without it a test's database is faster.
    """

    folder: Path
    durable: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    _child: Child | None = field(default=None, init=False)

    @property
    def data(self) -> Path:
        """The server's files."""
        return self.folder / "data"

    def url(self, database: str, *others: PostgresServer) -> str:
        """The address of a database on this server, or on whichever of `others` takes writes."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self, *others))
        return f"postgresql://{USER}@{hosts}/{database}"

    def create(self) -> PostgresServer:
        """Make an empty server that trusts whoever reaches it on loopback."""
        self._own_folder()
        sync = [] if self.durable else ["--no-sync"]
        options = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", *sync]
        self._run("initdb", "--pgdata", os.fspath(self.data), *options)
        return self

    def copy_of(self, primary: PostgresServer, name: str) -> PostgresServer:
        """Make a streaming standby of `primary`, which knows it by `name`."""
        self._own_folder()
        where = f"host=127.0.0.1 port={primary.port} user={USER} application_name={name}"
        options = ["--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast"]
        self._run("pg_basebackup", "--pgdata", os.fspath(self.data), "--dbname", where, *options)
        return self

    def start(self) -> PostgresServer:
        """Start it and wait until it answers; raises `LabError`."""
        settings = {**_CALM, "port": str(self.port), "unix_socket_directories": os.fspath(self.folder)}
        settings |= {} if self.durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for key, value in {**settings, **self.settings}.items() for part in ("-c", f"{key}={value}")]
        argv = self._as_nobody("postgres", "-D", os.fspath(self.data), *options)
        self._child = Child("postgres", argv, self.folder / "server.log").start()
        self._await()
        return self

    def stop(self) -> None:
        """End it at once, without waiting for connections (SIGINT: fast shutdown)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a loss of power would: SIGKILL to the server and to all that it started."""
        self._end(signal.SIGKILL)

    def promote(self) -> None:
        """Make a standby take writes; waits until it does."""
        self._run("pg_ctl", "promote", "--pgdata", os.fspath(self.data), "--wait")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What a statement gives, unaligned."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--username", USER, "--dbname", database]
        return self._run("psql", *where, "--no-psqlrc", "--tuples-only", "--no-align", "--command", statement).strip()

    def _end(self, number: signal.Signals) -> None:
        child = self._child
        if child is None or child.process is None or child.process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            targets = [child.pid] if number is signal.SIGINT else [*_children(child.pid), child.pid]
            for pid in reversed(targets):
                os.kill(pid, number)
        child.process.wait(timeout=_START_S)

    def _await(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._child is not None:
                self._child.check()
            with suppress(LabError):
                self._run("pg_isready", "--host", "127.0.0.1", "--port", str(self.port), "--quiet")
                return
            time.sleep(0.05)
        raise LabError("the PostgreSQL server did not start", f"Read {self.folder / 'server.log'}.")

    def _own_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            account = pwd.getpwnam(_UNPRIVILEGED)
            os.chown(self.folder, account.pw_uid, account.pw_gid)

    def _run(self, name: str, *arguments: str) -> str:
        return run(self._as_nobody(name, *arguments), timeout=_RUN_S)

    def _as_nobody(self, name: str, *arguments: str) -> list[str]:
        place = binaries()
        if place is None:
            raise LabError("no PostgreSQL server is installed", "Install it: apt-get install postgresql.")
        argv = [os.fspath(place / name), *arguments]
        if os.geteuid() != 0:
            return argv
        return ["setpriv", "--reuid", _UNPRIVILEGED, "--regid", "nogroup", "--clear-groups", *argv]


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
