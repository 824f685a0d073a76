"""The state directory: where each thing lies, and the locks between processes that share it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.durable import PRIVATE_FILE, private_directory, storage_error
from agent.errors import StateError
from hal import Busy, Clock, Deadline, SystemClock

_POLL_S = 0.02


@dataclass(frozen=True)
class StateDirectory:
    """Paths below `root`, which is private to this user."""

    root: Path

    @classmethod
    def open(cls, root: Path) -> StateDirectory:
        """The directory, made when absent; raises `StateError` when others may read it."""
        private_directory(root)
        private_directory(root / "profiles")
        private_directory(root / "bundles")
        private_directory(root / "openings")
        return cls(root)

    @property
    def identity(self) -> Path:
        """The node's identity: the file that, once replaced, makes a join or renewal take effect."""
        return self.root / "identity.json"

    @property
    def profiles(self) -> Path:
        """Folder of sealed profiles."""
        return self.root / "profiles"

    @property
    def openings(self) -> Path:
        """Folder of sealed openings of commitments."""
        return self.root / "openings"

    @property
    def holders(self) -> Path:
        """Whose template each device holds that keeps one: record ids by modality."""
        return self.root / "holders.json"

    @property
    def deliveries(self) -> Path:
        """Numbers of the deliveries that were accepted."""
        return self.root / "deliveries.json"

    @property
    def bundles(self) -> Path:
        """Folder of the newest delivery of each network, sealed."""
        return self.root / "bundles"

    @property
    def standing(self) -> Path:
        """Last standing and verdict that the authority told."""
        return self.root / "standing.json"

    @property
    def measured(self) -> Path:
        """Which agents were measured since the TPM's last reset."""
        return self.root / "measured.json"

    @property
    def log(self) -> Path:
        """Newest checkpoint of the authority's audit log, and what did not continue it."""
        return self.root / "log.json"

    @property
    def outbox(self) -> Path:
        """Evidence that was made and whose verdict is not known."""
        return self.root / "outbox.json"

    @property
    def timings(self) -> Path:
        """Stage durations, one JSON object a line."""
        return self.root / "timings.jsonl"

    @contextmanager
    def enclave_lock(self, deadline: Deadline) -> Iterator[None]:
        """Hold the enclave for this process and thread; raises `Busy` at the deadline."""
        with _locked(self.root / "enclave.lock", deadline, "the enclave is in use by another keyvigil command"):
            yield

    @contextmanager
    def sensor_lock(self, deadline: Deadline) -> Iterator[None]:
        """Hold the sensors for one presentation or enrolment; raises `Busy` at the deadline."""
        with _locked(self.root / "sensors.lock", deadline, "another enrolment or presentation holds the sensors"):
            yield

    @contextmanager
    def identity_lock(self, deadline: Deadline) -> Iterator[None]:
        """Hold the right to renew the certificate; raises `Busy` at the deadline."""
        with _locked(self.root / "identity.lock", deadline, "another keyvigil command renews the certificate"):
            yield

    @contextmanager
    def daemon_lock(self, clock: Clock | None = None) -> Iterator[None]:
        """Hold the right to be this node's daemon; raises `StateError` when one is running."""
        try:
            with _locked(self.root / "daemon.lock", Deadline.after(0, clock or SystemClock()), "daemon"):
                yield
        except Busy:
            raise StateError(
                f"an agent is already running on {self.root}", remedy="Stop it, or give this one its own state_dir."
            ) from None


@contextmanager
def _locked(path: Path, deadline: Deadline, busy: str) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        raise storage_error(path, error) from None
    try:
        _wait_for_lock(descriptor, deadline, busy)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, deadline: Deadline, busy: str) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline.remaining() <= 0:
                raise Busy(busy) from None
            deadline.clock.sleep(_POLL_S)
        else:
            return
