"""What fprintd's errors mean, in the terms of `hal`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drivers.dbus_access import ServiceError
from hal import Busy, DeviceError, Disconnected, NotFound, PermissionDenied, TimedOut, Unsupported

INSTALL = "Install and start it: apt-get install fprintd."
POLICY = (
    "Allow net.reactivated.fprint.device.verify and .enroll, and .setusername for another user's fingers, to the "
    "service user by a polkit rule; docs/drivers/fprintd.md has one."
)
_ENROL = "Enrol a finger at this reader first."
_JOURNAL = "Try again; if it repeats, read `journalctl -u fprintd` and replug the reader."

_FPRINT = "net.reactivated.Fprint.Error."
_DBUS = "org.freedesktop.DBus.Error."

_MEANING: dict[str, tuple[type[DeviceError], str | None]] = {
    f"{_FPRINT}AlreadyInUse": (Busy, None),
    f"{_FPRINT}PermissionDenied": (PermissionDenied, POLICY),
    f"{_FPRINT}ClaimDevice": (Disconnected, "Open the reader again: fprintd has released it."),
    f"{_FPRINT}NoSuchDevice": (NotFound, None),
    f"{_FPRINT}NoEnrolledPrints": (NotFound, _ENROL),
    f"{_FPRINT}InvalidFingername": (Unsupported, None),
    f"{_FPRINT}FingerAlreadyEnrolled": (DeviceError, "Remove the finger's template first."),
    f"{_FPRINT}PrintsNotDeleted": (DeviceError, _JOURNAL),
    f"{_FPRINT}PrintsNotDeletedFromDevice": (DeviceError, _JOURNAL),
    f"{_DBUS}AccessDenied": (PermissionDenied, POLICY),
    f"{_DBUS}UnknownObject": (Disconnected, None),
    f"{_DBUS}UnknownMethod": (Disconnected, None),
    f"{_DBUS}ServiceUnknown": (Disconnected, INSTALL),
    f"{_DBUS}NameHasNoOwner": (Disconnected, INSTALL),
    f"{_DBUS}NoReply": (TimedOut, None),
}


class ReaderFailed(DeviceError):
    """The reader or its driver inside fprintd had an error that fprintd does not explain; it may have been removed."""

    default_remedy = _JOURNAL


@contextmanager
def mapped_errors(doing: str) -> Iterator[None]:
    """Turn every error of fprintd into one of `hal`, its text beginning with `doing`."""
    try:
        yield
    except ServiceError as error:
        raise _translated(doing, error) from None


def _translated(doing: str, error: ServiceError) -> DeviceError:
    kind, remedy = _MEANING.get(error.name, (ReaderFailed, None))
    return kind(f"{doing}: fprintd says: {error}", remedy=remedy)
