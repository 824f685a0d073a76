"""The enclave as the rest of the node sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import pairwise
from typing import Self, TypeVar

from tpm2_pytss import TSS2_Exception

from drivers.tpm2 import _keys, _pcrs, _seal
from drivers.tpm2._endorsement import EndorsementKey
from drivers.tpm2._errors import tpm_code, translate
from drivers.tpm2._thread import TpmThread
from drivers.tpm2._tpm import ENCRYPT, MANUFACTURER, VENDOR_STRINGS, Tpm
from hal import (
    Approval,
    Attestation,
    Capability,
    CertifiedKey,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    Enclave,
    EnclaveKind,
    Endorsement,
    KeyUse,
    LockoutStatus,
    PcrSelection,
    SealAuthority,
    Transport,
)

Result = TypeVar("Result")

ENDORSEMENT_FACTOR = 6
"""Making an RSA endorsement key takes a chip up to a minute: such an operation gets so many times the deadline."""
CLOSE_SECONDS = 2.0
SEALED_BYTES = 128
AUTH_BYTES = 32
RANDOM_BYTES = 4096
_PERMANENT, _LOCKOUT_COUNTER, _MAX_AUTH_FAIL, _LOCKOUT_INTERVAL = 0x200, 0x20E, 0x20F, 0x210
_IN_LOCKOUT = 1 << 9
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

_CAPABILITIES = frozenset({Capability.SEAL, Capability.ATTEST, Capability.ENDORSE, Capability.CERTIFY})


class Tpm2Enclave(Enclave):
    """A TPM 2.0; every operation runs on the TPM's own thread within the deadline.

    Errors: `AuthorisationFailed` for a wrong authorisation value, moved PCRs, a blob of another TPM and lockout;
    `TimedOut` when the TPM does not answer; `Disconnected` when it went away, after which only a new `open` helps;
    `ValueError` for arguments out of range.
    """

    kind = EnclaveKind.TPM2

    def __init__(self, tpm: Tpm, thread: TpmThread, info: DeviceInfo, timeout: float) -> None:
        """Made by `connect`."""
        self._tpm = tpm
        self._thread = thread
        self._info = info
        self._timeout = timeout

    @classmethod
    def connect(cls, tcti: str, transport: Transport, timeout: float, opening: float) -> Self:
        """Open the TPM behind `tcti` within `opening` seconds; later operations get `timeout` seconds each.

        Raises `NotFound`, `TimedOut`, `Unsupported`.
        """
        thread, made = TpmThread(f"tpm {tcti}"), ExitStack()

        def opened() -> tuple[Tpm, DeviceInfo]:
            try:
                tpm = Tpm(tcti)
                made.callback(tpm.close)
                return tpm, _identity(tpm, tcti, transport)
            except TSS2_Exception as error:
                raise translate(error.rc, f"opening {tcti}", opening=True) from None

        try:
            tpm, info = thread.call("opening", opened, opening)
        except BaseException:
            thread.end(made.close, 0.0)
            raise
        return cls(tpm, thread, info, timeout)

    @property
    def info(self) -> DeviceInfo:
        """Maker and model as the TPM reports them; `port` is the TCTI."""
        return self._info

    def close(self) -> None:
        """Release the context; closing twice is allowed."""
        self._thread.end(self._tpm.close, CLOSE_SECONDS)

    def random(self, count: int) -> bytes:
        """`count` bytes (at most 4096) from the TPM's generator, encrypted on the bus."""
        if not 0 <= count <= RANDOM_BYTES:
            raise ValueError(f"{count} random bytes: 0 to {RANDOM_BYTES} can be asked for")
        return self._run("random", lambda tpm: _random(tpm, count))

    def endorsement(self) -> Endorsement:
        """EK public area (TPM2B_PUBLIC), and its certificates from NV; without any when the maker stored none."""
        return self._run("reading the endorsement key", lambda tpm: EndorsementKey(tpm).describe(), ENDORSEMENT_FACTOR)

    def attestation_key(self) -> bytes:
        """TPM2B_PUBLIC of the AK, the same after every reboot."""

        def public(tpm: Tpm) -> bytes:
            with tpm.attestation_key() as (_, marshalled):
                return marshalled

        return self._run("making the attestation key", public)

    def activate(self, credential_blob: bytes, encrypted_secret: bytes) -> bytes:
        """The secret in TPM2B_ID_OBJECT `credential_blob` and TPM2B_ENCRYPTED_SECRET `encrypted_secret`."""
        return self._run(
            "activating a credential",
            lambda tpm: EndorsementKey(tpm).activate(credential_blob, encrypted_secret),
            ENDORSEMENT_FACTOR,
        )

    def quote(self, qualifying: bytes, selection: PcrSelection) -> Attestation:
        """TPM2_Quote; the values in it are those that the quote's digest covers."""
        _check_length("qualifying data", qualifying, 32)
        _check_selection(selection)
        return self._run("quoting", lambda tpm: _pcrs.quote(tpm, qualifying, selection))

    def create_key(self, use: KeyUse, auth: bytes, qualifying: bytes) -> CertifiedKey:
        """A P-256 key; `auth` has at most 32 bytes, of which the TPM ignores trailing zeros."""
        _check_length("qualifying data", qualifying, 32)
        _check_at_most("authorisation value", auth, AUTH_BYTES)
        return self._run("making a key", lambda tpm: _keys.create(tpm, use, auth, qualifying))

    def sign(self, key: CertifiedKey, auth: bytes, digest: bytes) -> bytes:
        """64 bytes r ‖ s over a SHA-256 digest."""
        _check_length("digest", digest, 32)
        _check_at_most("authorisation value", auth, AUTH_BYTES)
        return self._run("signing", lambda tpm: _keys.sign(tpm, key, auth, digest))

    def agree(self, key: CertifiedKey, auth: bytes, peer: bytes) -> bytes:
        """x-coordinate (32 bytes) of the point shared with `peer`, an uncompressed P-256 point."""
        _check_point(peer)
        _check_at_most("authorisation value", auth, AUTH_BYTES)
        return self._run("agreeing on a key", lambda tpm: _keys.agree(tpm, key, auth, peer))

    def seal(self, secret: bytes, selection: PcrSelection, authority: SealAuthority | None = None) -> bytes:
        """Bind 1 to 128 bytes to this TPM and the selected PCRs' current values."""
        if authority is not None:
            self._lacks(Capability.SEAL_APPROVED)
        _check_at_most("secret", secret, SEALED_BYTES)
        if not secret:
            raise ValueError("an empty secret cannot be sealed")
        _check_selection(selection)
        return self._run("sealing", lambda tpm: _seal.seal(tpm, secret, selection))

    def unseal(self, blob: bytes, approval: Approval | None = None) -> bytes:
        """The secret that `seal` bound."""
        if approval is not None:
            self._lacks(Capability.SEAL_APPROVED)
        return self._run("unsealing", lambda tpm: _seal.unseal(tpm, blob))

    def read_pcrs(self, selection: PcrSelection) -> dict[int, bytes]:
        """PCR index to 32 bytes."""
        _check_selection(selection)
        return self._run("reading PCRs", lambda tpm: _pcrs.read(tpm, selection))

    def lockout(self) -> LockoutStatus:
        """Dictionary-attack counters; `recovery_seconds` is the time after which one failure is forgotten."""
        return self._run("reading the lockout state", _lockout)

    def _run(self, what: str, work: Callable[[Tpm], Result], factor: int = 1) -> Result:
        """Do `work` on the TPM's thread; errors of the stack become ours there."""

        def translated() -> Result:
            try:
                return work(self._tpm)
            except TSS2_Exception as error:
                if tpm_code(error.rc) is None:
                    with suppress(TSS2_Exception):
                        self._tpm.recover()
                raise translate(error.rc, what) from None

        try:
            return self._thread.call(what, translated, self._timeout * factor)
        except Disconnected:
            self.close()
            raise


def _identity(tpm: Tpm, tcti: str, transport: Transport) -> DeviceInfo:
    found = tpm.properties(MANUFACTURER, 1 + len(VENDOR_STRINGS))
    maker = _text(found, (MANUFACTURER,))
    model = _text(found, VENDOR_STRINGS)
    return DeviceInfo(
        kind=DeviceKind.ENCLAVE,
        driver="tpm2",
        transport=transport,
        port=tcti,
        vendor_id=maker,
        product_id=model,
        name=f"TPM 2.0 {maker} {model}".strip(),
        capabilities=_CAPABILITIES,
    )


def _text(properties: dict[int, int], keys: tuple[int, ...]) -> str:
    """Four ASCII characters a property, as TPM_PT_MANUFACTURER and TPM_PT_VENDOR_STRING_n pack them."""
    raw = b"".join(properties.get(key, 0).to_bytes(4, "big") for key in keys)
    return " ".join(raw.replace(b"\0", b"").decode("ascii", "replace").split())


def _random(tpm: Tpm, count: int) -> bytes:
    """TPM2_GetRandom gives no more than a digest at a time."""
    found = b""
    with tpm.storage_root() as root, tpm.session(root, ENCRYPT) as session:
        while len(found) < count:
            part = tpm.esys.get_random(min(32, count - len(found)), session1=session)
            found += bytes(part)
    return found


def _lockout(tpm: Tpm) -> LockoutStatus:
    found = tpm.properties(_PERMANENT, _LOCKOUT_INTERVAL - _PERMANENT + 1)
    return LockoutStatus(
        failures=found.get(_LOCKOUT_COUNTER, 0),
        max_failures=found.get(_MAX_AUTH_FAIL, 0),
        recovery_seconds=found.get(_LOCKOUT_INTERVAL, 0),
        locked=bool(found.get(_PERMANENT, 0) & _IN_LOCKOUT),
    )


def _check_length(what: str, value: bytes, length: int) -> None:
    if len(value) != length:
        raise ValueError(f"{what} has {len(value)} bytes, {length} are needed")


def _check_at_most(what: str, value: bytes, length: int) -> None:
    if len(value) > length:
        raise ValueError(f"{what} has {len(value)} bytes, at most {length} are allowed")


def _check_selection(selection: PcrSelection) -> None:
    ascending = all(a < b for a, b in pairwise(selection))
    if not selection or not ascending or selection[0] < 0 or selection[-1] > 23:
        raise ValueError(f"not a PCR selection: {selection!r}; ascending numbers from 0 to 23 are needed")


def _check_point(peer: bytes) -> None:
    """SEC 1, 2.3.4: an uncompressed point on P-256."""
    x, y = int.from_bytes(peer[1:33], "big"), int.from_bytes(peer[33:], "big")
    on_curve = (y * y - (x * x * x - 3 * x + _B)) % _P == 0
    if len(peer) != 65 or peer[0] != 4 or max(x, y) >= _P or not on_curve:
        raise ValueError("the peer's key is not an uncompressed point on P-256")
