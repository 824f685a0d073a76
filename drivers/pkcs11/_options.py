"""What a configuration may say of a token, and the file that holds its PIN."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hal import DeviceError, NotFound, PermissionDenied, Unsupported

DEFAULT_SECONDS = 10.0
_OPTIONS = frozenset({"module", "token", "pin_file", "timeout", "environment"})
_LONGEST_PIN = 255
_LIST_THEM = "The options are `module`, `token`, `pin_file`, `timeout` and `environment`; docs/drivers/enclaves.md."


@dataclass(frozen=True)
class Settings:
    """Validated options: `module` is the library's path, `token` a label or serial number, "" for the only one.

    `environment` holds variables that the module reads when it starts (SOFTHSM2_CONF, YUBIHSM_PKCS11_CONF).
    """

    module: Path
    token: str
    pin_file: Path | None
    timeout: float
    environment: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Settings:
        """Check the options of a configuration file; raises `Unsupported` naming the option."""
        if unknown := set(options) - _OPTIONS:
            raise Unsupported(f"unknown PKCS#11 option {min(unknown)!r}", remedy=_LIST_THEM)
        pin_file = options.get("pin_file")
        return cls(
            module=_path("module", options.get("module")),
            token=_text("token", options.get("token", "")),
            pin_file=None if pin_file is None else _path("pin_file", pin_file),
            timeout=_seconds(options.get("timeout", DEFAULT_SECONDS)),
            environment=_environment(options.get("environment", {})),
        )

    def read_pin(self) -> str:
        """The PIN; raises `PermissionDenied` for a file that others may read, `NotFound`, `Unsupported`."""
        if self.pin_file is None:
            raise Unsupported(
                "the option `pin_file` is missing",
                remedy="Write the token's PIN into a file of mode 0600 and name it; a PIN never stands here.",
            )
        return _read_pin(self.pin_file)


def _path(name: str, value: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise Unsupported(f"PKCS#11 option {name!r} is not an absolute path", remedy=_LIST_THEM)
    return Path(value)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > 64 or not value.isprintable():
        raise Unsupported(f"PKCS#11 option {name!r} is not a label or a serial number", remedy=_LIST_THEM)
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 600:
        raise Unsupported("PKCS#11 option 'timeout' is not a number of seconds", remedy="Give 1 to 600 seconds.")
    return float(value)


def _environment(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(_is_variable(*item) for item in value.items()):
        raise Unsupported(
            "PKCS#11 option 'environment' is not a table of variables",
            remedy='Write it as environment = { SOFTHSM2_CONF = "/etc/softhsm/softhsm2.conf" }.',
        )
    return tuple(sorted(value.items()))


def _is_variable(name: object, value: object) -> bool:
    named = isinstance(name, str) and name.replace("_", "").isalnum() and name.isascii()
    return named and isinstance(value, str) and "\0" not in value


def _read_pin(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error) from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Unsupported(f"{path} is no regular file", remedy="Put the PIN into a regular file of mode 0600.")
        if found.st_mode & 0o077 or found.st_uid not in {os.geteuid(), 0}:
            raise PermissionDenied(
                f"{path} is open to other users", remedy=f"Run `chown {os.geteuid()} {path} && chmod 600 {path}`."
            )
        raw = file.read(_LONGEST_PIN + 3)
    try:
        pin = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        pin = ""
    if not pin or len(pin) > _LONGEST_PIN or "\n" in pin:
        raise Unsupported(f"{path} holds no PIN", remedy="Write the PIN alone into it, on one line of UTF-8.")
    return pin


def _unreadable(path: Path, error: OSError) -> DeviceError:
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(f"there is no PIN file {path}", remedy="Write the token's PIN into it, mode 0600.")
    if error.errno in {errno.EACCES, errno.EPERM, errno.ELOOP}:
        return PermissionDenied(
            f"the PIN file {path} cannot be read: {error.strerror}",
            remedy=f"Make it a file of the service user: `chown {os.geteuid()} {path} && chmod 600 {path}`.",
        )
    return DeviceError(f"the PIN file {path} cannot be read: {error.strerror}", remedy="Check the disk that it is on.")
