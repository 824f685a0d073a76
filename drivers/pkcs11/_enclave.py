"""The token as the rest of the node sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Self, TypeVar

from pkcs11.exceptions import PKCS11Error

from drivers.enclave_arguments import (
    POINT_BYTES,
    check_auth,
    check_count,
    check_length,
    check_no_pcrs,
    check_secret,
    load_point,
)
from drivers.pkcs11 import _token
from drivers.pkcs11._claim import Claim
from drivers.pkcs11._errors import translate
from drivers.pkcs11._module import Module
from drivers.pkcs11._options import Settings
from drivers.pkcs11._token import Token
from hal import (
    Approval,
    AuthorisationFailed,
    Capability,
    CertifiedKey,
    DeviceError,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    Enclave,
    EnclaveKind,
    EnclaveStatus,
    KeyUse,
    PcrSelection,
    SealAuthority,
    TimedOut,
    Transport,
)

Result = TypeVar("Result")

CLOSE_SECONDS = 2.0
_KEY_MAGIC = b"KVP11KEY\x01"
_SEAL_MAGIC = b"KVP11SEA\x01"
_CAPABILITIES = frozenset({Capability.SIGN, Capability.AGREE, Capability.SEAL})
_SIMULATED = frozenset({"SoftHSM project"})
"""Makers of tokens that are files: they are announced as virtual, whatever else they are good for."""


class Pkcs11Enclave(Enclave):
    """A PKCS#11 token; every operation runs on its module's thread within the deadline.

    A key stays in the token. `CertifiedKey.public` is its 65-byte point, `private` a record that names it, sealed by
    the token together with the authorisation value: whoever may talk to the token with the PIN but does not know the
    value cannot use the key *through this driver*; the token itself knows of no such value.
    """

    kind = EnclaveKind.PKCS11

    def __init__(self, module: Module, token: Token, info: DeviceInfo, timeout: float, held: ExitStack) -> None:
        """Made by `connect`; `held` gives back token, module and claim on the module's thread."""
        self._module = module
        self._token = token
        self._info = info
        self._timeout = timeout
        self._held: ExitStack | None = held

    @classmethod
    def connect(cls, module: Module, settings: Settings, pin: str, opening: float) -> Self:
        """Claim the token and log in within `opening` seconds."""
        held = ExitStack()

        def opened() -> tuple[Token, DeviceInfo]:
            library = module.enter(settings.environment)
            held.callback(module.exit)
            found = _chosen(library, settings.token)
            held.callback(Claim(f"{found.manufacturer_id}/{_token.serial(found)}").release)
            token = Token(found, pin)
            held.callback(_quietly(token.close))
            return token, identity(found, str(settings.module))

        try:
            token, info = module.call("opening", opened, opening)
        except TimedOut:
            module.post(held.close, 0.0)
            raise
        except BaseException:
            module.post(held.close, CLOSE_SECONDS)
            raise
        return cls(module, token, info, settings.timeout, held)

    @property
    def info(self) -> DeviceInfo:
        """Maker, model and serial number as the token has them; `port` is the module."""
        return self._info

    def close(self) -> None:
        """Log out, and finalise the module when no other token of it is open; closing twice is allowed."""
        held, self._held = self._held, None
        if held is not None:
            self._module.post(held.close, CLOSE_SECONDS)

    def status(self) -> EnclaveStatus:
        """Maker, model, firmware, and what the token says of its PIN."""

        def look(token: Token) -> EnclaveStatus:
            found = token.refreshed()
            version = ".".join(str(part) for part in found.firmware_version)
            return EnclaveStatus(found.manufacturer_id, found.model, version, lockout=_token.lockout(found))

        return self._run("reading the token's state", look)

    def random(self, count: int) -> bytes:
        """`count` bytes (at most 4096) from the token's generator."""
        check_count(count)
        return self._run("random", lambda token: token.random(count))

    def create_key(self, use: KeyUse, auth: bytes, qualifying: bytes) -> CertifiedKey:
        """A P-256 key that stays in the token, without a certification."""
        check_length("qualifying data", qualifying, 32)
        check_auth(auth)

        def make(token: Token) -> CertifiedKey:
            key_id, public = token.generate(use)
            return CertifiedKey(public, _KEY_MAGIC + token.encrypt(key_id, _bound(use, public, auth)))

        return self._run("making a key", make)

    def sign(self, key: CertifiedKey, auth: bytes, digest: bytes) -> bytes:
        """64 bytes r ‖ s over a SHA-256 digest."""
        check_length("digest", digest, 32)
        check_auth(auth)
        return self._run("signing", lambda token: token.sign(_private(token, KeyUse.SIGN, key, auth), digest))

    def agree(self, key: CertifiedKey, auth: bytes, peer: bytes) -> bytes:
        """x-coordinate (32 bytes) of the point shared with `peer`."""
        load_point(peer)
        check_auth(auth)
        return self._run("agreeing on a key", lambda token: token.agree(_private(token, KeyUse.AGREE, key, auth), peer))

    def seal(self, secret: bytes, selection: PcrSelection, authority: SealAuthority | None = None) -> bytes:
        """Encrypt 1 to 128 bytes under a key that never leaves the token."""
        if authority is not None:
            self._lacks(Capability.SEAL_APPROVED)
        check_secret(secret)
        check_no_pcrs(self.kind, selection)
        return self._run("sealing", lambda token: _SEAL_MAGIC + token.encrypt(secret, _SEAL_MAGIC))

    def unseal(self, blob: bytes, approval: Approval | None = None) -> bytes:
        """The secret that `seal` bound."""
        if approval is not None:
            self._lacks(Capability.SEAL_APPROVED)
        sealed = _unwrapped(_SEAL_MAGIC, blob)
        return self._run("unsealing", lambda token: token.decrypt(sealed, _SEAL_MAGIC))

    def _run(self, what: str, work: Callable[[Token], Result]) -> Result:
        """Do `work` on the module's thread; a token that went away or stalls is closed, and only `open` helps."""
        if self._held is None:
            raise Disconnected(
                f"PKCS#11: {what} was not tried, the token is closed or stalled", remedy="Open the token again."
            )

        def translated() -> Result:
            try:
                return work(self._token)
            except DeviceError:
                raise
            except Exception as error:  # noqa: BLE001 - a module's answer may break the library in any way
                raise self._token.explain(error, what) from None

        try:
            return self._module.call(what, translated, self._timeout)
        except (Disconnected, TimedOut):
            self._abandon()
            raise

    def _abandon(self) -> None:
        """As `close`, without waiting: the token is gone, or the module hangs in it."""
        held, self._held = self._held, None
        if held is not None:
            self._module.post(held.close, 0.0)


def _chosen(library: Any, wanted: str) -> Any:
    try:
        return _token.choose(_token.present(library), wanted)
    except PKCS11Error as error:
        raise translate(error, "looking for the token") from None


def identity(token: Any, module: str) -> DeviceInfo:
    """Who and where a token is."""
    maker, model = str(token.manufacturer_id), str(token.model)
    return DeviceInfo(
        kind=DeviceKind.ENCLAVE,
        driver="pkcs11",
        transport=Transport.VIRTUAL if maker in _SIMULATED else Transport.TOKEN,
        port=module,
        vendor_id=maker,
        product_id=model,
        serial=_token.serial(token),
        name=f"PKCS#11 token {token.label}".strip(),
        capabilities=_CAPABILITIES,
    )


def _quietly(work: Callable[[], None]) -> Callable[[], None]:
    def closing() -> None:
        with suppress(DeviceError):
            work()

    return closing


def _private(token: Token, use: KeyUse, key: CertifiedKey, auth: bytes) -> Any:
    """The key that a record names, if use, public point and authorisation value are those it was made with."""
    if len(key.public) != POINT_BYTES:
        raise AuthorisationFailed("PKCS#11: a stored key is damaged or of another enclave")
    return token.private_key(token.decrypt(_unwrapped(_KEY_MAGIC, key.private), _bound(use, key.public, auth)))


def _bound(use: KeyUse, public: bytes, auth: bytes) -> bytes:
    """What a key's record is bound to. The fields before `auth` have a fixed length, so the join is unambiguous."""
    return _KEY_MAGIC + use.value.encode().ljust(8, b"\0") + public + auth


def _unwrapped(magic: bytes, blob: bytes) -> bytes:
    if not blob.startswith(magic):
        raise AuthorisationFailed("not made by a PKCS#11 token of this driver")
    return blob[len(magic) :]
