"""What a configuration file may say about a TPM."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hal import NotFound, PermissionDenied, Transport, Unsupported

DEFAULT_TCTI = "device:/dev/tpmrm0"
DEFAULT_SECONDS = 10.0
AUTH_BYTES = 32
"""An authorisation value is no longer than the digest of the hash that everything here is named by."""

_NAMES = ("owner_auth_file", "tcti", "timeout")
_TRANSPORTS = {"device": Transport.TPM, "swtpm": Transport.VIRTUAL, "mssim": Transport.VIRTUAL}


@dataclass(frozen=True)
class Settings:
    """Validated options.

    `tcti` is `<name>:<configuration>`, `timeout` counts seconds per operation, `owner_auth` is the owner hierarchy's
    authorisation value.
    """

    tcti: str
    timeout: float
    transport: Transport
    owner_auth: bytes = field(default=b"", repr=False)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """Check the options of a configuration file; raises `Unsupported`, `NotFound`, `PermissionDenied`."""
        unknown = set(options) - set(_NAMES)
        if unknown:
            raise Unsupported(f"unknown TPM option {min(unknown)!r}", remedy=f"The options are {', '.join(_NAMES)}.")
        tcti, timeout = options.get("tcti", DEFAULT_TCTI), options.get("timeout", DEFAULT_SECONDS)
        transport = _TRANSPORTS.get(tcti.partition(":")[0]) if isinstance(tcti, str) else None
        if transport is None:
            raise Unsupported(
                f"unknown TPM interface {tcti!r}",
                remedy='Give `tcti` as "device:/dev/tpmrm0", "swtpm:path=/run/tpm/socket" or "mssim:host=…,port=…".',
            )
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 600:
            raise Unsupported(f"TPM timeout {timeout!r} is not a number of seconds", remedy="Give 1 to 600 seconds.")
        return cls(tcti, float(timeout), transport, _owner_auth(options.get("owner_auth_file")))

    @property
    def shared(self) -> bool:
        """Whether others may use the TPM meanwhile: the kernel lends its raw device to one program at a time."""
        return not self.tcti.startswith("device:/dev/tpm") or self.tcti.startswith("device:/dev/tpmrm")


def _owner_auth(file: Any) -> bytes:
    """Content of the file without one closing newline, as tpm2-tools read it."""
    if file is None:
        return b""
    if not isinstance(file, str) or not Path(file).is_absolute():
        raise Unsupported("the TPM option `owner_auth_file` is not an absolute path", remedy="Give the file's path.")
    value = _read_private(file).removesuffix(b"\n")
    if not 1 <= len(value) <= AUTH_BYTES:
        raise Unsupported(
            f"the file that `owner_auth_file` names holds {len(value)} bytes",
            remedy=f"Write the TPM's owner authorisation into {file}: 1 to {AUTH_BYTES} bytes.",
        )
    return value


def _read_private(file: str) -> bytes:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError as error:
        raise PermissionDenied(
            f"`owner_auth_file`: no permission to read {file}", remedy=f"chown {file} to the service user."
        ) from error
    except OSError as error:
        raise NotFound(
            f"`owner_auth_file`: there is no file {file}", remedy="Correct the path, or leave the option out."
        ) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in {0, os.geteuid()}:
            raise PermissionDenied(
                f"`owner_auth_file`: {file} is not a private file of the service user",
                remedy=f"chmod 0600 {file}, and chown it to the service user.",
            )
        return os.read(descriptor, AUTH_BYTES + 2)
    finally:
        os.close(descriptor)
