"""Finding and opening a TPM; importable where tpm2-pytss is not installed."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal import (
    Busy,
    Deadline,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    Enclave,
    NotFound,
    PermissionDenied,
    Transport,
    Unsupported,
)

DEFAULT_TCTI = "device:/dev/tpmrm0"
DEFAULT_SECONDS = 10.0

_TRANSPORTS = {"device": Transport.TPM, "swtpm": Transport.VIRTUAL, "mssim": Transport.VIRTUAL}
_INSTALL = (
    "Install the TPM software stack: apt-get install libtss2-esys-3.0.2-0 libtss2-mu0 libtss2-rc0 libtss2-tctildr0 "
    "libtss2-fapi1 libtss2-tcti-device0 libtss2-tcti-swtpm0; and then the Python package: pip install 'keyvigil[tpm]'."
)


@dataclass(frozen=True)
class Settings:
    """Validated options: `tcti` as `<name>:<configuration>`, `timeout` in seconds per operation."""

    tcti: str
    timeout: float
    transport: Transport

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """Check the options of a configuration file; raises `Unsupported` naming the option."""
        unknown = set(options) - {"tcti", "timeout"}
        if unknown:
            raise Unsupported(f"unknown TPM option {min(unknown)!r}", remedy="The options are `tcti` and `timeout`.")
        tcti, timeout = options.get("tcti", DEFAULT_TCTI), options.get("timeout", DEFAULT_SECONDS)
        transport = _TRANSPORTS.get(tcti.partition(":")[0]) if isinstance(tcti, str) else None
        if transport is None:
            raise Unsupported(
                f"unknown TPM interface {tcti!r}",
                remedy='Give `tcti` as "device:/dev/tpmrm0", "swtpm:path=/run/tpm/socket" or "mssim:host=…,port=…".',
            )
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 600:
            raise Unsupported(f"TPM timeout {timeout!r} is not a number of seconds", remedy="Give 1 to 600 seconds.")
        return cls(tcti, float(timeout), transport)


class Tpm2Driver:
    """TPM 2.0 enclaves; options `tcti` (default `device:/dev/tpmrm0`) and `timeout` (seconds, default 10)."""

    kind = DeviceKind.ENCLAVE

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The TPM that `options` names, or without `tcti` every resource-managed TPM of the kernel."""
        if "tcti" in options:
            candidates = [dict(options)]
        else:
            nodes = sorted(Path("/dev").glob("tpmrm[0-9]*"))
            candidates = [{**options, "tcti": f"device:{node}"} for node in nodes]
        return [info for candidate in candidates if (info := self._look(candidate)) is not None]

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Enclave:
        """Connect; raises `NotFound`, `PermissionDenied`, `Busy`, `TimedOut`, and `Unsupported` without libtss2."""
        settings = Settings.parse(options)
        _probe(settings.tcti)
        # The C library reads this once, at its first message, and would otherwise write to the terminal.
        os.environ.setdefault("TSS2_LOG", "all+NONE")
        try:
            from drivers.tpm2._enclave import Tpm2Enclave
        except ImportError as error:
            raise Unsupported(f"the TPM software stack cannot be loaded: {error}", remedy=_INSTALL) from error
        opening = settings.timeout if deadline is None else min(settings.timeout, deadline.remaining())
        return Tpm2Enclave.connect(settings.tcti, settings.transport, settings.timeout, opening)

    def _look(self, options: Mapping[str, Any]) -> DeviceInfo | None:
        """Identity of an attached TPM; one that is there but cannot be opened is listed by its place alone."""
        settings = Settings.parse(options)
        try:
            with self.open(options) as enclave:
                return enclave.info
        except (NotFound, Unsupported):
            return None
        except DeviceError:
            return DeviceInfo(DeviceKind.ENCLAVE, "tpm2", settings.transport, settings.tcti)


def _probe(tcti: str) -> None:
    """The C library reports every failure to open a device node alike; ask the kernel which it is."""
    name, _, node = tcti.partition(":")
    if name != "device":
        return
    try:
        os.close(os.open(node, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise PermissionDenied(
                f"no permission to use {node}", remedy="Add the service user to the group `tss`."
            ) from error
        if error.errno == errno.EBUSY:
            raise Busy(f"{node} is in use", remedy="Use /dev/tpmrm0, which several programs may share.") from error
        raise NotFound(f"there is no TPM at {node}", remedy="Enable the TPM in the firmware set-up.") from error
