"""Reports of confidential VMs (AMD SEV-SNP, Intel TDX, Arm CCA) through the kernel's configfs-tsm: attest only.

Interface: Linux, Documentation/ABI/testing/configfs-tsm-report (kernel 6.7 and later). A report is a directory that one
makes under `tsm/report`; what is to be attested is written into `inblob`, the report is read from `outblob`, and
`generation` counts every write, so that somebody else's write between the two is noticed.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from drivers.worker import Worker
from hal import (
    Busy,
    Capability,
    Deadline,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    Enclave,
    EnclaveKind,
    EnclaveStatus,
    NotFound,
    PermissionDenied,
    ProtocolError,
    Report,
    TimedOut,
    Transport,
    Unsupported,
)

Result = TypeVar("Result")

DEFAULT_ROOT = "/sys/kernel/config"
DEFAULT_SECONDS = 30.0
QUALIFYING_BYTES = 64
LARGEST_REPORT = 1 << 20
LARGEST_LINE = 64
_RETRY_S = 0.02
_PASSING = frozenset({errno.EBUSY, errno.EWOULDBLOCK, errno.EINTR})
_MOUNT = (
    "Boot this as a confidential VM with kernel 6.7 or later, then: modprobe sev-guest || modprobe tdx-guest; "
    "mount -t configfs none /sys/kernel/config."
)


@dataclass(frozen=True)
class Settings:
    """Validated options: `root` is where configfs is mounted, `privlevel` a VMPL to ask for (SEV-SNP), or `None`."""

    root: Path
    timeout: float
    privlevel: int | None

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """Check the options of a configuration file; raises `Unsupported` naming the option."""
        if unknown := set(options) - {"root", "timeout", "privlevel"}:
            raise Unsupported(
                f"unknown configfs-tsm option {min(unknown)!r}",
                remedy="The options are `root`, `timeout` and `privlevel`.",
            )
        root, level = options.get("root", DEFAULT_ROOT), options.get("privlevel")
        if not isinstance(root, str) or not root.startswith("/") or "\0" in root:
            raise Unsupported("configfs-tsm option 'root' is not an absolute path", remedy=f"Give {DEFAULT_ROOT}.")
        if level is not None and (isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= 3):
            raise Unsupported("configfs-tsm option 'privlevel' is not a level", remedy="Give 0 to 3, or leave it out.")
        timeout = options.get("timeout", DEFAULT_SECONDS)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 600:
            raise Unsupported("configfs-tsm option 'timeout' is not a number of seconds", remedy="Give 1 to 600.")
        return cls(Path(root), float(timeout), level)

    @property
    def transport(self) -> Transport:
        """Anything but the kernel's own mount is a simulation."""
        return Transport.SYSTEM if str(self.root) == DEFAULT_ROOT else Transport.VIRTUAL


class ConfigfsTsmDriver:
    """Confidential-VM reports; options `root`, `timeout` (seconds, default 30) and `privlevel`."""

    kind = DeviceKind.ENCLAVE

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The report provider of this VM, if it has one; one that cannot be used is listed by its place alone."""
        settings = Settings.parse(options)
        try:
            with self.open(options) as enclave:
                return [enclave.info]
        except NotFound:
            return []
        except DeviceError:
            return [_identity(settings, "")]

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Enclave:
        """Find the provider; raises `NotFound`, `PermissionDenied`, `TimedOut`, `Unsupported`."""
        settings = Settings.parse(options)
        opening = settings.timeout if deadline is None else min(settings.timeout, deadline.remaining())
        return ConfigfsTsm.connect(settings, opening)


class ConfigfsTsm(Enclave):
    """The report interface of one VM; it keeps no keys. Every report has a directory of its own, which is removed."""

    kind = EnclaveKind.CONFIDENTIAL_VM

    def __init__(self, settings: Settings, worker: Worker, provider: str) -> None:
        """Made by `connect`."""
        self._settings = settings
        self._worker = worker
        self._provider = provider
        self._info = _identity(settings, provider)
        self._open = True

    @classmethod
    def connect(cls, settings: Settings, opening: float) -> Self:
        """Ask for the provider's name within `opening` seconds."""
        worker = Worker("configfs-tsm")

        def provider() -> str:
            with _directory(settings) as entry:
                return _line(entry / "provider")

        try:
            return cls(settings, worker, worker.call("opening", provider, opening))
        except BaseException:
            worker.end()
            raise

    @property
    def info(self) -> DeviceInfo:
        """The provider's name as vendor; `port` is the directory of reports."""
        return self._info

    def close(self) -> None:
        """Nothing is held between two reports; closing twice is allowed."""
        if self._open:
            self._open = False
            self._worker.end()

    def status(self) -> EnclaveStatus:
        """The provider."""
        return self._run("status", lambda _: EnclaveStatus(self._provider, "confidential VM", ""))

    def report(self, qualifying: bytes) -> Report:
        """The platform's signed report over 1 to 64 bytes; raises `Busy` when others keep writing until the timeout."""
        if not 0 < len(qualifying) <= QUALIFYING_BYTES:
            raise ValueError(f"qualifying data has {len(qualifying)} bytes, 1 to {QUALIFYING_BYTES} are allowed")
        return self._run("reporting", lambda deadline: _report(self._settings, qualifying, deadline))

    def _run(self, what: str, work: Callable[[Deadline], Result]) -> Result:
        if not self._open:
            raise Disconnected(f"configfs-tsm: {what} was not tried, it is closed or stalled", remedy="Open it again.")
        deadline = Deadline.after(self._settings.timeout)
        try:
            return self._worker.call(what, lambda: work(deadline), self._settings.timeout * 1.05)
        except NotFound as error:
            self.close()
            raise Disconnected(f"{error}: its provider went away", remedy=error.remedy) from None
        except (Disconnected, TimedOut):
            self.close()
            raise


def _identity(settings: Settings, provider: str) -> DeviceInfo:
    return DeviceInfo(
        kind=DeviceKind.ENCLAVE,
        driver="configfs-tsm",
        transport=settings.transport,
        port=str(_reports(settings)),
        vendor_id=provider,
        name=f"confidential VM ({provider})" if provider else "confidential VM",
        capabilities=frozenset({Capability.REPORT, Capability.SHARED}),
    )


def _reports(settings: Settings) -> Path:
    return settings.root / "tsm" / "report"


def _report(settings: Settings, qualifying: bytes, deadline: Deadline) -> Report:
    """One report; tried anew in a fresh directory while the interface is busy or somebody else wrote into ours."""
    while True:
        with _directory(settings) as entry, suppress(_Passing):
            return _attempt(entry, settings, qualifying)
        if deadline.remaining() <= _RETRY_S:
            raise Busy("configfs-tsm: another program kept the report interface busy")
        deadline.clock.sleep(_RETRY_S)


class _Passing(Busy):
    """This attempt is void; the next may succeed."""


def _attempt(entry: Path, settings: Settings, qualifying: bytes) -> Report:
    before, writes = _number(entry / "generation"), 1
    if settings.privlevel is not None:
        _write(entry / "privlevel", str(settings.privlevel).encode())
        writes += 1
    _write(entry / "inblob", qualifying)
    report = _read(entry / "outblob", LARGEST_REPORT)
    auxiliary = _read(entry / "auxblob", LARGEST_REPORT) if (entry / "auxblob").exists() else b""
    provider, generation = _line(entry / "provider"), _number(entry / "generation")
    if generation != before + writes:
        raise _Passing("configfs-tsm: another program wrote into this report")
    if not report:
        raise ProtocolError("configfs-tsm: the provider gave an empty report")
    return Report(provider, report, auxiliary, generation)


@contextmanager
def _directory(settings: Settings) -> Iterator[Path]:
    """A report directory of our own, removed whatever happens; what happened first is what is reported."""
    entry = _reports(settings) / f"keyvigil-{os.getpid()}-{secrets.token_hex(8)}"
    try:
        entry.mkdir(mode=0o700)
    except OSError as error:
        raise _absent(error) from None
    try:
        yield entry
    except BaseException:
        with suppress(OSError):
            entry.rmdir()
        raise
    try:
        entry.rmdir()
    except OSError as error:
        raise _explain(entry, error) from None


def _write(path: Path, data: bytes) -> None:
    """One write: the kernel takes a value whole. It takes effect when the file is closed."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _explain(path, error) from None
    if written != len(data):
        raise ProtocolError(f"configfs-tsm: {path.name} took {written} of {len(data)} bytes")


def _read(path: Path, most: int) -> bytes:
    """All of a file, in as many reads as it takes; raises `ProtocolError` beyond `most` bytes."""
    data = b""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while part := os.read(descriptor, 65_536):
                data += part
                if len(data) > most:
                    raise ProtocolError(f"configfs-tsm: {path.name} has more than {most} bytes")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _explain(path, error) from None
    return data


def _line(path: Path) -> str:
    text = _read(path, LARGEST_LINE).decode("ascii", "replace").strip()
    if not text.isascii() or not text.isprintable() or not text:
        raise ProtocolError(f"configfs-tsm: {path.name} is no line of text")
    return text


def _number(path: Path) -> int:
    text = _line(path)
    if not text.isdigit():
        raise ProtocolError(f"configfs-tsm: {path.name} is no number")
    return int(text)


def _absent(error: OSError) -> DeviceError:
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENXIO, errno.ENODEV}:
        return NotFound("this machine offers no confidential-VM reports", remedy=_MOUNT)
    return _explain(Path("a report"), error)


def _explain(path: Path, error: OSError) -> DeviceError:
    text = f"configfs-tsm: {path.name}: {error.strerror or error}"
    if error.errno in _PASSING:
        return _Passing(text)
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PermissionDenied(text, remedy="Reports need root, or a service unit that may write to configfs.")
    if error.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV}:
        return Disconnected(text, remedy="Load the provider's module again: modprobe sev-guest or tdx-guest.")
    if error.errno == errno.ETIMEDOUT:
        return TimedOut(text, remedy="Try again; if it repeats, the host's quoting service is down: ask its operator.")
    if error.errno == errno.EINVAL:
        return Unsupported(text, remedy="Leave `privlevel` out, or give one that this VM may ask for.")
    return ProtocolError(text)
