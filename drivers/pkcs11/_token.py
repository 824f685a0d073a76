"""One token with an open session: its keys, and what they do. On the thread of its module only."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import KDF, Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11.exceptions import PKCS11Error
from pkcs11.util.ec import encode_named_curve_parameters

from drivers.enclave_arguments import load_point
from drivers.pkcs11._errors import gone, is_ambiguous, translate
from hal import AuthorisationFailed, KeyUse, LockoutStatus, NotFound, ProtocolError, Unsupported

SEAL_LABEL = "keyvigil seal 1"
NONCE_BYTES = 12
TAG_BITS = 128
_OPEN_TRIES_FLAGS = TokenFlag.USER_PIN_COUNT_LOW | TokenFlag.USER_PIN_FINAL_TRY
_USES = {KeyUse.SIGN: MechanismFlag.SIGN, KeyUse.AGREE: MechanismFlag.DERIVE}
_STAYS = {Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True}
_ALWAYS_STAYED = (Attribute.LOCAL, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE)


def present(library: Any) -> list[Any]:
    """The initialised tokens that are inserted now; a slot that cannot be read does not hide the others."""
    found = []
    for slot in library.get_slots():
        with suppress(PKCS11Error):
            token = slot.get_token()
            if token.flags & TokenFlag.TOKEN_INITIALIZED:
                found.append(token)
    return sorted(found, key=lambda token: (token.label, token.serial))


def choose(tokens: Sequence[Any], wanted: str) -> Any:
    """The token of that label or serial number, or with "" the only one; raises `NotFound`, `Unsupported`."""
    fits = [token for token in tokens if wanted in {"", token.label, serial(token)}]
    if not fits:
        raise NotFound(
            f"no PKCS#11 token {wanted!r} is inserted", remedy="Insert the token; `pkcs11-tool --list-slots` shows all."
        )
    if len(fits) > 1:
        raise Unsupported(
            f"{len(fits)} PKCS#11 tokens fit: {', '.join(f'{one.label!r} ({serial(one)})' for one in fits)}",
            remedy="Name one by its serial number in the option `token`.",
        )
    return fits[0]


def serial(token: Any) -> str:
    """The serial number as text."""
    text: str = token.serial.decode("ascii", "replace").strip("\0 ")
    return text


def lockout(token: Any) -> LockoutStatus | None:
    """What the token's flags say of its PIN; a token tells no number, and nothing while all is well."""
    locked, low = token.flags & TokenFlag.USER_PIN_LOCKED, token.flags & _OPEN_TRIES_FLAGS
    return LockoutStatus(1, 0, 0, bool(locked)) if locked or low else None


def check_pin_state(token: Any) -> None:
    """Refuse to spend the last try: a wrong PIN in a file must never lock a token."""
    if token.flags & TokenFlag.USER_PIN_LOCKED:
        raise AuthorisationFailed(
            "PKCS#11: the token's PIN is locked after too many wrong ones",
            remedy="Unlock it as the token's security officer: pkcs11-tool --login --login-type so --init-pin.",
        )
    if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
        raise AuthorisationFailed(
            "PKCS#11: one try of the PIN is left, and it is not spent by a program",
            remedy="Correct `pin_file`, then log in once by hand: pkcs11-tool --login --list-objects.",
        )
    if not token.flags & TokenFlag.USER_PIN_INITIALIZED:
        raise AuthorisationFailed(
            "PKCS#11: the token has no user PIN", remedy="Set one: pkcs11-tool --login --login-type so --init-pin."
        )


class Token:
    """A session that is logged in; every method raises the errors of our tree."""

    def __init__(self, token: Any, pin: str) -> None:
        """Log in; raises `AuthorisationFailed`, and never tries a PIN that the token says is locked or nearly."""
        self._token = token
        check_pin_state(token)
        try:
            self._session = token.open(rw=True, user_pin=pin)
        except Exception as error:  # noqa: BLE001 - a module's answer may break the library in any way
            raise self.explain(error, "logging in") from None

    def close(self) -> None:
        """Log out and end the session."""
        try:
            self._session.close()
        except PKCS11Error as error:
            raise translate(error, "closing") from None

    def explain(self, error: Exception, what: str, *, opening_data: bool = False) -> Exception:
        """What an error means; where the module says little, the token is asked whether it is still there."""
        if is_ambiguous(error) and not self.answers():
            return gone(what)
        return translate(error, what, opening_data=opening_data)

    def answers(self) -> bool:
        """Whether the same token is still in its slot."""
        try:
            found = self.refreshed()
        except PKCS11Error:
            return False
        return bool(found.serial == self._token.serial)

    def refreshed(self) -> Any:
        """The token with its flags as they are now."""
        return self._token.slot.get_token()

    def random(self, count: int) -> bytes:
        """`count` bytes of the token's generator."""
        if not count:
            return b""
        drawn = bytes(self._session.generate_random(count * 8))
        return _sized("random bytes", drawn, count)

    def generate(self, use: KeyUse) -> tuple[bytes, bytes]:
        """A P-256 key pair that stays in the token: its CKA_ID (16 bytes) and its public point (65 bytes)."""
        identity = secrets.token_bytes(16)
        parameters = self._session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
        )
        public, private = parameters.generate_keypair(
            store=True,
            id=identity,
            label=f"keyvigil {use.value} {identity.hex()[:8]}",
            capabilities=_USES[use],
            public_template={Attribute.VERIFY: use is KeyUse.SIGN},
            private_template=_STAYS,
        )
        try:
            self._check_confined(private)
            return identity, _point(public[Attribute.EC_POINT])
        except BaseException:
            private.destroy()
            raise
        finally:
            # The point is in the record, and some tokens have room for a few objects only.
            public.destroy()

    @staticmethod
    def _check_confined(private: Any) -> None:
        """A token may ignore a template: a key that can leave it is none of ours."""
        wanted = {Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True, Attribute.LOCAL: True}
        if any(private[name] is not value for name, value in wanted.items()):
            raise ProtocolError(
                "PKCS#11: the token made a key that can leave it", remedy="Use a token that keeps its keys."
            )

    def private_key(self, identity: bytes) -> Any:
        """The private key with this CKA_ID; raises `AuthorisationFailed` when it is not in this token."""
        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: identity}
        found = list(self._session.get_objects(wanted))
        if len(found) != 1:
            if not self.answers():
                raise gone("looking for a key")
            raise AuthorisationFailed("PKCS#11: the key is not in this token")
        return found[0]

    def sign(self, key: Any, digest: bytes) -> bytes:
        """CKM_ECDSA over a digest: r ‖ s."""
        return _sized("a signature", bytes(key.sign(digest, mechanism=Mechanism.ECDSA)), 64)

    def agree(self, key: Any, peer: bytes) -> bytes:
        """CKM_ECDH1_DERIVE without a key derivation function: the x-coordinate."""
        derived = key.derive_key(
            KeyType.GENERIC_SECRET,
            256,
            mechanism=Mechanism.ECDH1_DERIVE,
            mechanism_param=(KDF.NULL, None, peer),
            template={Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False},
        )
        try:
            return _sized("a shared secret", bytes(derived[Attribute.VALUE]), 32)
        finally:
            derived.destroy()

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Nonce (12 bytes), ciphertext and tag (16) of AES-256-GCM under the token's own key, made at its first use."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        parameters = GCMParams(nonce, context, TAG_BITS)
        key = self._seal_key() or self._make_seal_key()
        sealed = bytes(key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
        return nonce + _sized("a ciphertext", sealed, len(plaintext) + TAG_BITS // 8)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """Inverse of `encrypt`; raises `AuthorisationFailed` for another context, key or token, or damaged data."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        if len(rest) < TAG_BITS // 8:
            raise AuthorisationFailed("PKCS#11: a stored key or blob is damaged")
        key = self._seal_key()
        if key is None:
            raise AuthorisationFailed("PKCS#11: the key that sealed this is not in this token")
        parameters = GCMParams(nonce, context, TAG_BITS)
        try:
            opened = bytes(key.decrypt(rest, mechanism=Mechanism.AES_GCM, mechanism_param=parameters))
        except PKCS11Error as error:
            raise self.explain(error, "opening sealed data", opening_data=True) from None
        return _sized("a plaintext", opened, len(rest) - TAG_BITS // 8)

    def _seal_key(self) -> Any | None:
        """The AES-256 key that seals, if it was made; raises `Disconnected` when the token is not there to say.

        One that was imported, or could ever leave the token, was not made here and may be known to somebody.
        """
        wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: SEAL_LABEL}
        found = list(self._session.get_objects(wanted))
        if len(found) > 1:
            raise ProtocolError(
                f"PKCS#11: the token has {len(found)} keys labelled {SEAL_LABEL!r}",
                remedy="Delete those that Keyvigil did not make: pkcs11-tool --login --list-objects.",
            )
        if not found and not self.answers():
            raise gone("looking for the sealing key")
        if any(key[name] is not True for key in found for name in _ALWAYS_STAYED):
            raise ProtocolError(
                f"PKCS#11: the token's key {SEAL_LABEL!r} was imported, or can leave it or once could",
                remedy="Delete it (pkcs11-tool --login --delete-object --type secrkey), then join and enrol anew.",
            )
        return found[0] if found else None

    def _make_seal_key(self) -> Any:
        uses = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
        return self._session.generate_key(
            KeyType.AES, 256, store=True, label=SEAL_LABEL, capabilities=uses, template=_STAYS
        )


def _point(encoded: bytes) -> bytes:
    """CKA_EC_POINT as an uncompressed point: most modules wrap it into a DER OCTET STRING, as they should."""
    raw = bytes(encoded[2:] if encoded[:2] == b"\x04\x41" and len(encoded) == 67 else encoded)
    try:
        key: ec.EllipticCurvePublicKey = load_point(raw)
    except ValueError:
        raise ProtocolError("PKCS#11: the token made a key that is no point on P-256") from None
    del key
    return raw


def _sized(what: str, value: bytes, length: int) -> bytes:
    if len(value) != length:
        raise ProtocolError(f"PKCS#11: the token gave {what} of {len(value)} bytes, {length} were expected")
    return value
