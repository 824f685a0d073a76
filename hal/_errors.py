"""The one error tree that every device operation raises from."""

from __future__ import annotations

from typing import ClassVar


class DeviceError(Exception):
    """A device operation failed; `remedy` tells the person at the machine what to do."""

    default_remedy: ClassVar[str] = "Run `keyvigil devices` to see the state of every device."

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy or self.default_remedy


class NotFound(DeviceError):
    """No such device is attached."""

    default_remedy = "Plug the device in, or correct its entry in the configuration."


class Busy(DeviceError):
    """Another process has claimed the device."""

    default_remedy = "Stop the other program that holds the device, then try again."


class TimedOut(DeviceError):
    """The device did not answer before the deadline."""

    default_remedy = "Try again; if it repeats, replug the device."


class Disconnected(DeviceError):
    """The device went away while it was in use."""

    default_remedy = "Replug the device and check its cable."


class Unsupported(DeviceError):
    """The device cannot do what was asked."""

    default_remedy = "Use a device with this capability, or change the policy that asks for it."


class PermissionDenied(DeviceError):
    """The operating system refused access to the device."""

    default_remedy = "Install the udev rules that ship with Keyvigil, or add the service user to the device's group."


class ProtocolError(DeviceError):
    """The device sent something that its protocol does not allow."""

    default_remedy = "Replug the device; if it repeats, the device or its firmware is not the one configured."


class AuthorisationFailed(DeviceError):
    """The enclave refused an authorisation value or a policy."""

    default_remedy = "The sealed profile does not belong to this enclave state; enrol the administrator again."


class Locked(AuthorisationFailed):
    """Too many wrong answers: the right one is refused too, until the lock is lifted."""

    default_remedy = "Have the Trust Authority lift the lock, or enrol again."
