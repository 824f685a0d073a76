"""What a configuration may say about an EF01 sensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hal import NotFound, PermissionDenied, Unsupported

BAUD_STEP, BAUD_STEPS = 9600, range(1, 13)
"""The family runs at 9600 x N baud."""

CONFIGURE = "Correct the fingerprint reader's options in the configuration."
_KNOWN = ("address", "baud", "password_file", "port", "raise_baud", "settle_ms")
_PASSWORD = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})")


@dataclass(frozen=True)
class Ef01Options:
    """`port` is the serial port's device node, best one that stays the same ("/dev/serial/by-id/...").

    `baud` is the rate that is tried first. `raise_baud` is one that the sensor is switched to, and keeps; `None`
    leaves it. `address` is the module's, `password` its four bytes as a number. `settle_ms` is how long a finger lies
    before the image is taken.
    """

    port: str = ""
    baud: int = 57_600
    raise_baud: int | None = None
    address: int = 0xFFFFFFFF
    password: int = field(default=0, repr=False)
    settle_ms: int = 200

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """From a configuration table; raises `Unsupported` for a key or value that is not understood.

        The file that `password_file` names is read: `NotFound` where it is missing, `PermissionDenied` where others
        may read it or we may not.
        """
        for key in sorted(set(options) - set(_KNOWN)):
            aside = "; a password is given as 'password_file'" if key == "password" else ""
            raise Unsupported(
                f"unknown option {key!r} for an EF01 reader; known are {', '.join(_KNOWN)}{aside}", remedy=CONFIGURE
            )
        raise_to = options.get("raise_baud")
        return cls(
            _text(options, "port"),
            _baud("baud", options.get("baud", cls.baud)),
            None if raise_to is None else _baud("raise_baud", raise_to),
            _address(options.get("address", cls.address)),
            _read_password(_text(options, "password_file")),
            _whole("settle_ms", options.get("settle_ms", cls.settle_ms), range(2001)),
        )


def _text(options: Mapping[str, Any], key: str) -> str:
    value = options.get(key, "")
    if not isinstance(value, str) or "\0" in value:
        raise Unsupported(f"option {key!r} is {value!r}, not the path of a file", remedy=CONFIGURE)
    return value


def _whole(key: str, value: Any, allowed: range) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
        raise Unsupported(
            f"option {key!r} is {value!r}, no integer from {allowed.start} to {allowed.stop - 1}", remedy=CONFIGURE
        )
    return value


def _baud(key: str, value: Any) -> int:
    rates = [BAUD_STEP * number for number in BAUD_STEPS]
    if isinstance(value, bool) or value not in rates:
        raise Unsupported(
            f"option {key!r} is {value!r}, not one of {', '.join(str(rate) for rate in rates)}", remedy=CONFIGURE
        )
    return int(value)


def _address(value: Any) -> int:
    number = int(value, 16) if isinstance(value, str) and _PASSWORD.fullmatch(value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 0xFFFFFFFF:
        raise Unsupported(f"option 'address' is {value!r}, no module address such as 0xFFFFFFFF", remedy=CONFIGURE)
    return number


def _read_password(path: str) -> int:
    """The module's password from a file of one to eight hexadecimal digits; what it holds is never repeated."""
    if not path:
        return 0
    file = Path(path)
    try:
        if file.stat().st_mode & 0o077:
            raise PermissionDenied(f"password_file {path} may be read by others", remedy=f"Run: chmod 600 {path}")
        with file.open(errors="replace") as opened:
            text = opened.read(64)
    except FileNotFoundError:
        raise NotFound(f"password_file {path} does not exist", remedy=CONFIGURE) from None
    except OSError as error:
        raise PermissionDenied(
            f"password_file {path} cannot be read: {error.strerror}", remedy="Make it a file that the service may read."
        ) from None
    found = _PASSWORD.fullmatch(text.strip())
    if found is None:
        raise Unsupported(
            f"password_file {path} does not hold one to eight hexadecimal digits", remedy="Correct the file."
        )
    return int(found[1], 16)
