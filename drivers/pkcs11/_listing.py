"""What is inserted, without a PIN and without a claim."""

from __future__ import annotations

from contextlib import ExitStack

from pkcs11.exceptions import PKCS11Error

from drivers.pkcs11._enclave import CLOSE_SECONDS, identity
from drivers.pkcs11._errors import translate
from drivers.pkcs11._module import module
from drivers.pkcs11._options import Settings
from drivers.pkcs11._token import present, serial
from hal import DeviceInfo


def attached(settings: Settings) -> list[DeviceInfo]:
    """Tokens of the module, those that `token` names only; raises `NotFound`, `TimedOut`, `Unsupported`."""
    library, held = module(settings.module), ExitStack()

    def look() -> list[DeviceInfo]:
        loaded = library.enter(settings.environment)
        held.callback(library.exit)
        try:
            fits = [token for token in present(loaded) if settings.token in {"", token.label, serial(token)}]
        except PKCS11Error as error:
            raise translate(error, "listing tokens") from None
        return [identity(token, str(settings.module)) for token in fits]

    wait = 0.0
    try:
        found = library.call("listing tokens", look, settings.timeout)
        wait = CLOSE_SECONDS
    finally:
        library.post(held.close, wait)
    return found
