"""A key-encryption key in a PKCS#11 token: it never leaves it, every secret is wrapped by the token itself."""

from __future__ import annotations

import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import exceptions as ck
from pkcs11.mechanisms import GCMParams

from authority.keys.kek import KekError, KekProvider
from authority.keys.kek_kinds import Description, Random, refuse_unknown

_NONCE_BYTES = 12
_TAG_BITS = 128
_OPTIONS = ("module", "token", "pin_file")


class Pkcs11Kind:
    """AES-256 on a token: `module` (path of the library), `token` (label), `pin_file` (0600, the user PIN)."""

    warning = ""

    def create(self, folder: Path, options: Mapping[str, str], random: Random) -> Description:
        """A key that is sensitive and not extractable (PKCS #11 2.40, 4.9) under a label that none had before."""
        del folder
        refuse_unknown("pkcs11", options, _OPTIONS)
        missing = [name for name in _OPTIONS if not options.get(name)]
        if missing:
            raise KekError(f"pkcs11 needs the option {missing[0]!r}", f"Its options: {', '.join(_OPTIONS)}.")
        label = f"keyvigil-kek-{random(8).hex()}"
        with _session(options) as session:
            session.generate_key(pkcs11.KeyType.AES, 256, label=label, store=True, template=_TEMPLATE)
        return {**{name: options[name] for name in _OPTIONS}, "label": label}

    def open(self, folder: Path, description: Mapping[str, str], random: Random) -> KekProvider:
        """The key on the token; its session stays open with the provider."""
        del folder
        session = _session(description)
        try:
            return Pkcs11Kek(_key(session, description["label"]), description["label"], random)
        except BaseException:
            session.close()
            raise

    def destroy(self, folder: Path, description: Mapping[str, str]) -> None:
        """C_DestroyObject: the token itself forgets the key."""
        del folder
        with _session(description) as session:
            for key in session.get_objects({pkcs11.Attribute.LABEL: description["label"]}):
                key.destroy()


class Pkcs11Kek:
    """AES-256-GCM by the token (PKCS #11 2.40, CKM_AES_GCM); one call at a time."""

    def __init__(self, key: Any, label: str, random: Random) -> None:
        self._key, self._random = key, random
        self._kek_id = f"pkcs11:{label.removeprefix('keyvigil-kek-')}"
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Pkcs11Kek({self._kek_id})"

    @property
    def kek_id(self) -> str:
        """Name of the key: what is random of its label."""
        return self._kek_id

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Nonce (12 bytes), ciphertext and tag with `context` as associated data; raises `KekError`."""
        nonce = self._random(_NONCE_BYTES)
        parameters = GCMParams(nonce, context, _TAG_BITS)
        try:
            with self._lock:
                return nonce + bytes(
                    self._key.encrypt(secret, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters)
                )
        except ck.PKCS11Error as error:
            raise _failed("wraps nothing", error) from None

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Inverse of `wrap`; raises `KekError` under another key or context."""
        parameters = GCMParams(wrapped[:_NONCE_BYTES].ljust(_NONCE_BYTES, b"\0"), context, _TAG_BITS)
        try:
            with self._lock:
                return bytes(
                    self._key.decrypt(
                        wrapped[_NONCE_BYTES:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters
                    )
                )
        except ck.PKCS11Error as error:
            raise _failed("does not open a stored secret", error) from None


_TEMPLATE = {
    pkcs11.Attribute.SENSITIVE: True,
    pkcs11.Attribute.EXTRACTABLE: False,
    pkcs11.Attribute.ENCRYPT: True,
    pkcs11.Attribute.DECRYPT: True,
}


def _session(options: Mapping[str, str]) -> Any:
    try:
        token = pkcs11.lib(options["module"]).get_token(token_label=options["token"])
        return token.open(rw=True, user_pin=_pin(Path(options["pin_file"])))
    except KeyError as error:
        raise KekError(f"the description of a key lacks {error}", "Restore keks.json from its backup.") from None
    except (ck.PKCS11Error, RuntimeError) as error:
        raise _failed("does not open", error) from None


def _key(session: Any, label: str) -> Any:
    try:
        key = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=label)
    except ck.PKCS11Error as error:
        raise _failed(f"has no key {label}", error) from None
    if key[pkcs11.Attribute.EXTRACTABLE] or not key[pkcs11.Attribute.SENSITIVE]:
        raise KekError(f"the token would give {label} away", "Make a new key: `kek rotate --to pkcs11`.")
    return key


def _pin(file: Path) -> str:
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError):
        raise KekError(f"{file} cannot be read", "Name a file with the token's user PIN as pin_file.") from None
    if stat.S_IMODE(mode) & 0o077:
        raise KekError(f"{file} is open to others", f"Run `chmod 600 {file}` and change the PIN.")
    return text


def _failed(what: str, error: Exception) -> KekError:
    name = type(error).__name__
    return KekError(f"the token {what} ({name})", "Check that it is plugged in, and module, token and pin_file.")
