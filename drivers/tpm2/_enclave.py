"""The enclave as the rest of the node sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Self, TypeVar

from tpm2_pytss import TSS2_Exception

from drivers.tpm2 import _checks, _grants, _guard, _keys, _ownership, _pcrs, _registers, _seal, _status
from drivers.tpm2._endorsement import EndorsementKey
from drivers.tpm2._errors import passes, tpm_code, translate
from drivers.tpm2._options import AUTH_BYTES, Settings
from drivers.tpm2._thread import TpmThread
from drivers.tpm2._tpm import ENCRYPT, Tpm
from hal import (
    Approval,
    Attestation,
    Capability,
    CertifiedKey,
    Deadline,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    Enclave,
    EnclaveKind,
    EnclaveStatus,
    Endorsement,
    Grant,
    GuardedKey,
    KeyUse,
    LockoutStatus,
    NvCertification,
    OwnerAuth,
    OwnerCommand,
    OwnershipProof,
    PcrSelection,
    PinState,
    SealAuthority,
)

Result = TypeVar("Result")

ENDORSEMENT_FACTOR = 6
"""Making an RSA endorsement key takes a chip up to a minute: such an operation gets so many times the deadline."""
CLOSE_SECONDS = 2.0
RETRY_SECONDS = 0.02
PATIENCE = 0.9
"""Share of an operation's time in which it is tried again."""
SWEEP_SECONDS = 1.0
"""After so long without a free slot, what is loaded is taken to be left behind, and unloaded."""
SEALED_BYTES = 128
RANDOM_BYTES = 4096
PIN_BYTES = 32

_CAPABILITIES = frozenset(
    {
        Capability.SIGN,
        Capability.AGREE,
        Capability.SEAL,
        Capability.SEAL_APPROVED,
        Capability.PCRS,
        Capability.ATTEST,
        Capability.ENDORSE,
        Capability.CERTIFY,
        Capability.COUNTER,
        Capability.MEASURE,
        Capability.PIN,
        Capability.GUARD,
        Capability.OWNERSHIP,
        Capability.LOCKOUT,
        Capability.CLOCK,
    }
)


class Tpm2Enclave(Enclave):
    """A TPM 2.0; every operation runs on the TPM's own thread within the deadline.

    Errors: `AuthorisationFailed` for a wrong authorisation value, moved PCRs, a blob of another TPM and lockout;
    `TimedOut` when the TPM does not answer; `Disconnected` when it went away, after which only a new `open` helps;
    `Busy` when other programs hold its slots until the deadline, or when its NV memory is full; `ValueError` for
    arguments out of range.
    """

    kind = EnclaveKind.TPM2

    def __init__(self, tpm: Tpm, thread: TpmThread, info: DeviceInfo, timeout: float) -> None:
        """Made by `connect`."""
        self._tpm = tpm
        self._thread = thread
        self._info = info
        self._timeout = timeout

    @classmethod
    def connect(cls, settings: Settings, deadline: Deadline) -> Self:
        """Open the TPM by `deadline`; later operations get the time that the settings give them.

        Raises `NotFound`, `TimedOut`, `Unsupported`.
        """
        tcti = settings.tcti
        thread, made = TpmThread(f"tpm {tcti}"), ExitStack()

        def opened() -> tuple[Tpm, DeviceInfo]:
            try:
                tpm = Tpm(tcti, settings.owner_auth)
                made.callback(tpm.close)
                return tpm, _identity(tpm, settings)
            except TSS2_Exception as error:
                raise translate(error.rc, f"opening {tcti}", opening=True) from None

        try:
            tpm, info = thread.call("opening", opened, deadline.remaining())
        except BaseException:
            thread.end(made.close, 0.0)
            raise
        return cls(tpm, thread, info, settings.timeout)

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
        _checks.check_length("qualifying data", qualifying, 32)
        _checks.check_selection(selection)
        return self._run("quoting", lambda tpm: _pcrs.quote(tpm, qualifying, selection))

    def create_key(self, use: KeyUse, auth: bytes, qualifying: bytes) -> CertifiedKey:
        """A P-256 key; `auth` has at most 32 bytes, of which the TPM ignores trailing zeros."""
        _checks.check_length("qualifying data", qualifying, 32)
        _checks.check_at_most("authorisation value", auth, AUTH_BYTES)
        return self._run("making a key", lambda tpm: _keys.create(tpm, use, auth, qualifying))

    def sign(self, key: CertifiedKey, auth: bytes, digest: bytes) -> bytes:
        """64 bytes r ‖ s over a SHA-256 digest."""
        _checks.check_length("digest", digest, 32)
        _checks.check_at_most("authorisation value", auth, AUTH_BYTES)
        return self._run("signing", lambda tpm: _keys.sign(tpm, key, auth, digest))

    def agree(self, key: CertifiedKey, auth: bytes, peer: bytes) -> bytes:
        """x-coordinate (32 bytes) of the point shared with `peer`, an uncompressed P-256 point."""
        _checks.check_point("the peer's key", peer)
        _checks.check_at_most("authorisation value", auth, AUTH_BYTES)
        return self._run("agreeing on a key", lambda tpm: _keys.agree(tpm, key, auth, peer))

    def seal(self, secret: bytes, selection: PcrSelection, authority: SealAuthority | None = None) -> bytes:
        """Bind 1 to 128 bytes to this TPM, and to the selected PCRs' current values or to an authority's approvals.

        An authority that signs one approval without a floor under a reference has lifted the floor of that reference.
        """
        _checks.check_some("secret", secret, SEALED_BYTES)
        if authority is None:
            _checks.check_selection(selection)
        else:
            _checks.check_authority(authority)
        return self._run("sealing", lambda tpm: _seal.seal(tpm, secret, selection, authority))

    def unseal(self, blob: bytes, approval: Approval | None = None) -> bytes:
        """The secret that `seal` bound; an approval that the blob does not ask for is not looked at."""
        if approval is not None:
            _checks.check_approval(approval)
        return self._run("unsealing", lambda tpm: _seal.unseal(tpm, blob, approval))

    def pcr_policy(self, selection: PcrSelection, authority: SealAuthority, version: int = 0) -> bytes:
        """PolicyPCR over the current values, with a floor PolicyNV(floor <= version) too; a missing floor is made."""
        _checks.check_selection(selection)
        _checks.check_authority(authority)
        _checks.check_version(version)
        return self._run("reading the policy", lambda tpm: _seal.policy_of_now(tpm, selection, authority, version))

    def read_pcrs(self, selection: PcrSelection) -> dict[int, bytes]:
        """PCR index to 32 bytes."""
        _checks.check_selection(selection)
        return self._run("reading PCRs", lambda tpm: _pcrs.read(tpm, selection))

    def lockout(self) -> LockoutStatus:
        """Dictionary-attack counters; `recovery_seconds` is the time after which one failure is forgotten.

        Nothing that this driver makes is subject to them: a locked TPM still serves it.
        """
        return self._run("reading the lockout state", _status.lockout)

    def status(self) -> EnclaveStatus:
        """Maker, firmware version, clock, lockout, active banks, free slots."""
        return self._run("reading the status", _status.status)

    def counter(self, label: str) -> int:
        """An NV counter; a new one starts above every counter that was ever removed from this TPM."""
        _checks.check_label(label)
        return self._run("reading a counter", lambda tpm: _registers.counter(tpm, label))

    def advance(self, label: str) -> int:
        """TPM2_NV_Increment."""
        _checks.check_label(label)
        return self._run("advancing a counter", lambda tpm: _registers.advance(tpm, label))

    def certify_counter(self, label: str, qualifying: bytes) -> NvCertification:
        """TPM2_NV_Certify; its 8 bytes are the big-endian value."""
        _checks.check_label(label)
        _checks.check_length("qualifying data", qualifying, 32)
        return self._run("certifying a counter", lambda tpm: _registers.certify_counter(tpm, label, qualifying))

    def measurement(self, label: str) -> bytes:
        """An NV extend index, which starts anew at every reset and can be set back by nothing else."""
        _checks.check_label(label)
        return self._run("reading a measurement", lambda tpm: _registers.measurement(tpm, label))

    def measure(self, label: str, digest: bytes) -> bytes:
        """TPM2_NV_Extend."""
        _checks.check_label(label)
        _checks.check_length("digest", digest, 32)
        return self._run("measuring", lambda tpm: _registers.measure(tpm, label, digest))

    def certify_measurement(self, label: str, qualifying: bytes) -> NvCertification:
        """TPM2_NV_Certify; raises `NotFound` before the first measurement since the last reset."""
        _checks.check_label(label)
        _checks.check_length("qualifying data", qualifying, 32)
        return self._run("certifying a measurement", lambda tpm: _registers.certify_measurement(tpm, label, qualifying))

    def set_pin(self, label: str, pin: bytes, limit: int) -> None:
        """An NV PIN-fail index that the owner defines and writes; interrupted half-way it answers nothing."""
        _checks.check_label(label)
        _checks.check_some("PIN", pin, PIN_BYTES)
        _checks.check_limit(limit)
        self._run("setting a PIN", lambda tpm: _registers.set_pin(tpm, label, pin, limit))

    def try_pin(self, label: str, pin: bytes) -> None:
        """The TPM counts wrong answers in the index itself; its global lockout counter stays where it is."""
        _checks.check_label(label)
        _checks.check_some("PIN", pin, PIN_BYTES)
        self._run("checking a PIN", lambda tpm: _registers.try_pin(tpm, label, pin))

    def pin_state(self, label: str) -> PinState:
        """Read by the owner's authorisation, so that it can be had while the PIN is locked."""
        _checks.check_label(label)
        return self._run("reading a PIN's state", lambda tpm: _registers.pin_state(tpm, label))

    def forget(self, label: str) -> None:
        """Undefine the indices; a counter that is made again goes on above its old value."""
        _checks.check_label(label)
        self._run("removing NV indices", lambda tpm: _registers.forget(tpm, label))

    def create_guarded_key(
        self,
        label: str,
        pin: bytes,
        auth: bytes,
        limit: int,
        reset_key: bytes,
        qualifying: bytes,
        *,
        owner: bytes | Grant = b"",
    ) -> GuardedKey:
        """An NV PIN-fail index that the owner defines, and a P-256 key whose policy names it."""
        _checks.check_guard(label, limit, reset_key)
        _checks.check_secrets(pin, auth)
        _checks.check_length("qualifying data", qualifying, 32)
        _checks.check_owner(owner)
        wanted = _guard.Limits(label, limit, reset_key)

        def make(tpm: Tpm) -> GuardedKey:
            if isinstance(owner, Grant):
                return _guard.create_granted(tpm, wanted, pin, auth, qualifying, owner)
            with tpm.owned(owner):
                return _guard.create(tpm, wanted, pin, auth, qualifying)

        return self._run("making a guarded key", make)

    def guarded_sign(self, key: GuardedKey, pin: bytes, auth: bytes, digest: bytes) -> bytes:
        """64 bytes r ‖ s over a SHA-256 digest; a wrong `auth` behind the right PIN does not count."""
        _checks.check_secrets(pin, auth)
        _checks.check_length("digest", digest, 32)
        return self._run("signing with a guarded key", lambda tpm: _guard.sign(tpm, key, pin, auth, digest))

    def change_pin(self, key: GuardedKey, old: bytes, new: bytes) -> None:
        """TPM2_NV_ChangeAuth."""
        _checks.check_secrets(old, new)
        self._run("changing a PIN", lambda tpm: _guard.change_pin(tpm, key, old, new))

    def guard_state(self, key: GuardedKey) -> PinState:
        """Read by the index's own policy, which lets anybody."""
        return self._run("reading a PIN's state", lambda tpm: _guard.state(tpm, key))

    def certify_guard(self, key: GuardedKey, qualifying: bytes) -> NvCertification:
        """TPM2_NV_Certify; its 8 bytes are count and limit, big-endian."""
        _checks.check_length("qualifying data", qualifying, 32)
        return self._run("certifying a PIN's state", lambda tpm: _guard.certify(tpm, key, qualifying))

    def reset_nonce(self, key: GuardedKey) -> bytes:
        """nonceTPM of a policy session that lies saved, in no slot, until `reset_pin`."""
        return self._run("beginning a PIN's reset", lambda tpm: _guard.reset_nonce(tpm, key))

    def reset_pin(self, key: GuardedKey, signature: bytes) -> None:
        """TPM2_PolicySigned, then TPM2_NV_Write; whatever comes of it, the nonce is used up."""
        _checks.check_length("the reset's signature", signature, 64)
        self._run("resetting a PIN", lambda tpm: _guard.reset(tpm, key, signature))

    def plan_guard(self, label: str, reset_key: bytes) -> OwnerCommand:
        """nonceTPM of a policy session that lies saved until `create_guarded_key`, and the index to be defined."""
        _checks.check_guard(label, 1, reset_key)
        return self._run("planning a PIN index", lambda tpm: _guard.plan(tpm, label, reset_key))

    def plan_removal(self, key: GuardedKey) -> OwnerCommand | None:
        """nonceTPM of a policy session that lies saved until `remove_guard`."""
        return self._run("planning a PIN index's removal", lambda tpm: _guard.plan_removal(tpm, key))

    def remove_guard(self, key: GuardedKey, *, owner: bytes | Grant = b"") -> None:
        """Undefine the index."""
        _checks.check_owner(owner)

        def remove(tpm: Tpm) -> None:
            if isinstance(owner, Grant):
                _guard.remove_granted(tpm, key, owner)
                return
            with tpm.owned(owner):
                _guard.remove(tpm, key)

        self._run("removing a PIN index", remove)

    def take_ownership(self, new: OwnerAuth, old: OwnerAuth | None = None, grant_key: bytes = b"") -> None:
        """Keep the storage root at 0x81000001, then TPM2_HierarchyChangeAuth of lockout and owner.

        Lockout's value is set once, when it has none. Raises `Unsupported` where another key lies at that handle.
        """
        for value in (new.owner, new.lockout):
            _checks.check_length("an owner or lockout authorisation", value, AUTH_BYTES)
        if grant_key:
            _checks.check_point("the grant key", grant_key)
        self._run("taking ownership", lambda tpm: _ownership.take(tpm, new, old or OwnerAuth(), grant_key))

    def certify_ownership(self, qualifying: bytes) -> OwnershipProof:
        """TPM2_GetSessionAuditDigest over a session in which the TPM told TPMA_PERMANENT."""
        _checks.check_length("qualifying data", qualifying, 32)
        return self._run("certifying whose the TPM is", lambda tpm: _grants.certify(tpm, qualifying))

    def _run(self, what: str, work: Callable[[Tpm], Result], factor: int = 1) -> Result:
        """Do `work` on the TPM's thread; errors of the stack become ours there."""
        seconds = self._timeout * factor

        def translated() -> Result:
            try:
                if self._tpm.broken:
                    self._tpm.recover()
                return self._patiently(work, seconds)
            except TSS2_Exception as error:
                if tpm_code(error.rc) is None:
                    with suppress(TSS2_Exception):
                        self._tpm.recover()
                raise translate(error.rc, what) from None

        try:
            return self._thread.call(what, translated, seconds)
        except Disconnected:
            self.close()
            raise

    def _patiently(self, work: Callable[[Tpm], Result], seconds: float) -> Result:
        """Again and again while the TPM is occupied; what stays loaded for long belongs to nobody who lives."""
        deadline = Deadline.after(seconds * PATIENCE)
        sweeping = deadline.within(min(SWEEP_SECONDS, seconds * PATIENCE / 2))
        swept = False
        while True:
            try:
                return work(self._tpm)
            except TSS2_Exception as error:
                if not passes(error.rc) or deadline.remaining() <= 0:
                    raise
            if not swept and sweeping.remaining() <= 0:
                self._tpm.sweep()
                swept = True
            deadline.clock.sleep(RETRY_SECONDS)


def _identity(tpm: Tpm, settings: Settings) -> DeviceInfo:
    """Without a SHA-256 bank there are no registers for us, and nothing that is made of their values."""
    maker, model = _status.identity(tpm)
    able = set(_CAPABILITIES)
    if "sha256" not in _status.banks(tpm):
        able -= {Capability.PCRS, Capability.SEAL_APPROVED}
    if settings.shared:
        able.add(Capability.SHARED)
    return DeviceInfo(
        kind=DeviceKind.ENCLAVE,
        driver="tpm2",
        transport=settings.transport,
        port=settings.tcti,
        vendor_id=maker,
        product_id=model,
        name=f"TPM 2.0 {maker} {model}".strip(),
        capabilities=frozenset(able),
    )


def _random(tpm: Tpm, count: int) -> bytes:
    """TPM2_GetRandom gives no more than a digest at a time."""
    found = b""
    with tpm.salted(ENCRYPT) as session:
        while len(found) < count:
            part = tpm.esys.get_random(min(32, count - len(found)), session1=session)
            found += bytes(part)
    return found
