"""configfs-tsm as the kernel behaves: a report is a directory that comes with its attributes and goes with them.

Semantics: Linux, Documentation/ABI/testing/configfs-tsm-report. What matters to a driver:

- A directory made under `tsm/report` holds `inblob` (write-only, at most 64 bytes, taken when the file is closed),
  `outblob`, `auxblob`, `provider` and `generation` (read-only) and, where the provider knows levels, `privlevel`.
- Every write that takes effect adds one to `generation`. `outblob` is made when it is read after a write, and answers
  EINVAL before the first one.
- Removing the directory removes the attributes; nothing else can be made or removed in it.
- Without a provider, making a directory and reading a report answer ENXIO.
"""

from __future__ import annotations

import errno
import hmac
import random
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from simulators.devices.fault_orders import OrdersInForce
from simulators.devices.faults import Fault, FaultOrder, require_playable
from simulators.devices.fuse_mount import FuseMount

INBLOB_BYTES = 64
MAGIC = b"KVSIMTSM\x01"
_PRIVATE_DIRECTORY, _READ_ONLY, _WRITE_ONLY = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o400, stat.S_IFREG | 0o200
_STALL_S = 600.0


@dataclass
class _Entry:
    """One report: what was written, and how often."""

    inblob: bytes = b""
    privlevel: int = 0
    generation: int = 0


class ConfigfsTree:
    """A configfs mount with a TSM provider, seeded; a context manager. `root` is what a driver is pointed at.

    `mount` is made when it is missing; raises `PermissionDenied` where nothing can be mounted.
    """

    faults = frozenset(
        {
            Fault.UNPLUG,
            Fault.BUSY,
            Fault.SLOW,
            Fault.STALL,
            Fault.SHORT_READ,
            Fault.CORRUPT,
            Fault.PERMISSION_DENIED,
        }
    )

    def __init__(self, mount: Path, provider: str = "sev_guest", seed: int = 1) -> None:
        self.root = mount
        self.provider = provider
        self._seed = seed
        self._secret = random.Random(seed).randbytes(32)  # noqa: S311 - a simulated platform's key
        self._entries: dict[str, _Entry] = {}
        self._orders = OrdersInForce()
        self._lock = threading.RLock()
        self._others = 0
        mount.mkdir(parents=True, exist_ok=True)
        self._mount = FuseMount(self, mount)

    @property
    def reports(self) -> list[str]:
        """Names of the report directories that exist now."""
        with self._lock:
            return sorted(self._entries)

    def interfere(self, times: int) -> None:
        """Let another program write into the directory of the next `times` reports, between inblob and outblob."""
        with self._lock:
            self._others = times

    def attested(self, report: bytes) -> tuple[bytes, int]:
        """What a report attests, and its level; raises `ValueError` for one that this platform did not sign."""
        body, tag = report[:-32], report[-32:]
        if not body.startswith(MAGIC) or not hmac.compare_digest(tag, self._sign(body)):
            raise ValueError("not a report of this platform")
        level, size = body[len(MAGIC)], body[len(MAGIC) + 1]
        return body[len(MAGIC) + 2 : len(MAGIC) + 2 + size], level

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault; a "message" is one access to a report."""
        require_playable(self, order)
        self._orders.add(order)

    def mend(self) -> None:
        """End every fault; what was stalled goes on."""
        self._orders.clear()

    def close(self) -> None:
        """Unmount; closing twice is allowed."""
        self.mend()
        self._mount.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The tree as the kernel asks for it.

    def kind(self, path: tuple[str, ...]) -> int:
        """Type and permissions of a path."""
        if path in {(), ("tsm",), ("tsm", "report")}:
            return _PRIVATE_DIRECTORY
        entry, name = self._resolve(path)
        del entry
        return _PRIVATE_DIRECTORY if name is None else _WRITE_ONLY if name in {"inblob", "privlevel"} else _READ_ONLY

    def names(self, path: tuple[str, ...]) -> list[str]:
        """What a directory holds."""
        if path in {(), ("tsm",)}:
            return ["report"] if path else ["tsm"]
        return self.reports if path == ("tsm", "report") else list(_ATTRIBUTES)

    def mkdir(self, path: tuple[str, ...]) -> None:
        """A new report."""
        if path[:2] != ("tsm", "report") or len(path) != 3:
            raise OSError(errno.EPERM, "only reports can be made")
        self._refuse({Fault.UNPLUG: errno.ENXIO, Fault.PERMISSION_DENIED: errno.EACCES})
        with self._lock:
            if path[2] in self._entries:
                raise OSError(errno.EEXIST, "there is one")
            self._entries[path[2]] = _Entry()

    def rmdir(self, path: tuple[str, ...]) -> None:
        """The end of a report."""
        with self._lock:
            if len(path) != 3 or self._entries.pop(path[2], None) is None:
                raise OSError(errno.ENOENT if len(path) == 3 else errno.EPERM, "no report")

    def open(self, path: tuple[str, ...]) -> _Attribute:
        """An attribute of a report."""
        entry, name = self._resolve(path)
        if name is None:
            raise OSError(errno.EISDIR, "a directory")
        return _Attribute(self, entry, name)

    def read(self, entry: _Entry, name: str) -> bytes:
        """Value of an attribute, made when it is read."""
        self._delay()
        if name in {"inblob", "privlevel"}:
            raise OSError(errno.EACCES, "write-only")
        if name == "provider":
            return f"{self.provider}\n".encode()
        if name == "generation":
            return b"\xffnot a number\n" if self._hit(Fault.CORRUPT) else f"{entry.generation}\n".encode()
        self._refuse({Fault.UNPLUG: errno.ENXIO})
        if not entry.inblob:
            raise OSError(errno.EINVAL, "nothing to report on")
        if name == "auxblob":
            return b"certificates of " + self.provider.encode()
        body = MAGIC + bytes([entry.privlevel, len(entry.inblob)]) + entry.inblob
        return body + self._sign(body)

    def shorten(self, data: bytes) -> bytes:
        """At most a few bytes at a time while reads are short."""
        return data[:7] if self._hit(Fault.SHORT_READ) else data

    def write(self, entry: _Entry, name: str, data: bytes) -> None:
        """A write that takes effect."""
        self._delay()
        self._refuse({Fault.UNPLUG: errno.ENXIO, Fault.BUSY: errno.EBUSY})
        with self._lock:
            if name == "inblob":
                entry.inblob = data
                entry.generation += self._others > 0
                self._others = max(0, self._others - 1)
            else:
                entry.privlevel = int(data)
            entry.generation += 1

    def _resolve(self, path: tuple[str, ...]) -> tuple[_Entry, str | None]:
        with self._lock:
            entry = self._entries.get(path[2]) if path[:2] == ("tsm", "report") and len(path) > 2 else None
        name = path[3] if len(path) == 4 else None
        if entry is None or len(path) > 4 or (name is not None and name not in _ATTRIBUTES):
            raise OSError(errno.ENOENT, "nothing there")
        return entry, name

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")

    def _hit(self, fault: Fault) -> bool:
        return self._orders.strikes(fault, whole=True) is not None

    def _refuse(self, errors: dict[Fault, int]) -> None:
        for fault, number in errors.items():
            if self._hit(fault):
                raise OSError(number, fault.value)

    def _delay(self) -> None:
        if self._hit(Fault.STALL):
            self._orders.delay(_STALL_S)
        slow = self._orders.strikes(Fault.SLOW)
        if slow is not None:
            self._orders.delay(slow.order.seconds)


_ATTRIBUTES = ("inblob", "outblob", "auxblob", "provider", "generation", "privlevel")


@dataclass
class _Attribute:
    """An open attribute: a value is read as it was at the first read, and written when the file is closed."""

    tree: ConfigfsTree
    entry: _Entry
    name: str
    value: bytes | None = None
    written: bytearray = field(default_factory=bytearray)

    def read(self, offset: int, size: int) -> bytes:
        if self.value is None:
            self.value = self.tree.read(self.entry, self.name)
        return self.tree.shorten(self.value[offset : offset + size])

    def write(self, offset: int, data: bytes) -> int:
        if self.name == "privlevel" and not (data.isdigit() and int(data) <= 3):
            raise OSError(errno.EINVAL, "no such level")
        if self.name not in {"inblob", "privlevel"}:
            raise OSError(errno.EACCES, "read-only")
        if offset + len(data) > INBLOB_BYTES:
            raise OSError(errno.EFBIG, "too much")
        self.written[offset : offset + len(data)] = data
        return len(data)

    def flush(self) -> None:
        if self.written:
            data, self.written = bytes(self.written), bytearray()
            self.tree.write(self.entry, self.name, data)
