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
        label = f"keyvigil-kek-{random(8).hex()}"
        try:
            _session(options).generate_key(pkcs11.KeyType.AES, 256, label=label, store=True, template=_TEMPLATE)
        except ck.PKCS11Error as error:
            raise _failed("makes no key", error) from None
        return {**{name: options[name] for name in _OPTIONS}, "label": label}

    def open(self, folder: Path, description: Mapping[str, str], random: Random) -> KekProvider:
        """The key on the token."""
        del folder
        label = _named(description, "label")
        return Pkcs11Kek(_key(_session(description), label), label, random)

    def destroy(self, folder: Path, description: Mapping[str, str]) -> None:
        """C_DestroyObject: the token itself forgets the key."""
        del folder
        label = _named(description, "label")
        try:
            for key in [*_session(description).get_objects({pkcs11.Attribute.LABEL: label})]:
                key.destroy()
        except ck.PKCS11Error as error:
            raise _failed("does not destroy a key", error) from None


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


_sessions: dict[tuple[str, str], Any] = {}
"""One a token and process: a token logs an application in, not a session, and the end of one logs all out."""


def _session(options: Mapping[str, str]) -> Any:
    module, label, pin_file = (_named(options, name) for name in _OPTIONS)
    if (module, label) not in _sessions:
        try:
            token = pkcs11.lib(module).get_token(token_label=label)
            _sessions[module, label] = token.open(rw=True, user_pin=_pin(Path(pin_file)))
        except (ck.PKCS11Error, RuntimeError) as error:
            raise _failed("does not open", error) from None
    return _sessions[module, label]


def _named(options: Mapping[str, str], name: str) -> str:
    if not options.get(name):
        raise KekError(f"a key on a token needs {name!r}", f"The options of pkcs11: {', '.join(_OPTIONS)}.")
    return options[name]


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
