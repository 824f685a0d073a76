"""Finding and opening a token; importable where python-pkcs11 is not installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drivers.pkcs11._options import Settings
from hal import Deadline, DeviceInfo, DeviceKind, Enclave, Unsupported

if TYPE_CHECKING:
    from drivers.pkcs11._enclave import Pkcs11Enclave

_INSTALL = "Install the Python package: pip install 'keyvigil[pkcs11]'."


class Pkcs11Driver:
    """PKCS#11 tokens; options `module` (path), `token` (label or serial), `pin_file`, `timeout`, `environment`."""

    kind = DeviceKind.ENCLAVE

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The tokens of the module that `options` names, without logging in; none without a `module`."""
        if "module" not in options:
            return []
        settings = Settings.parse(options)
        _enclave_class()
        from drivers.pkcs11._listing import attached

        return attached(settings)

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> Enclave:
        """Claim the token and log in.

        Raises `NotFound` (no module, no such token), `PermissionDenied` (PIN file), `AuthorisationFailed` (PIN),
        `Busy`, `TimedOut`, `Unsupported`.
        """
        settings = Settings.parse(options)
        pin = settings.read_pin()
        enclave = _enclave_class()
        from drivers.pkcs11._module import module

        opening = settings.timeout if deadline is None else min(settings.timeout, deadline.remaining())
        return enclave.connect(module(settings.module), settings, pin, opening)


def _enclave_class() -> type[Pkcs11Enclave]:
    try:
        from drivers.pkcs11._enclave import Pkcs11Enclave
    except ImportError as error:
        raise Unsupported(f"python-pkcs11 cannot be loaded: {error}", remedy=_INSTALL) from error
    return Pkcs11Enclave
