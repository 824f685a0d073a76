"""Keys behind a PIN-fail index: the TPM counts wrong answers in the index, and in nothing that others share.

The key signs by PolicySecret(index) and PolicyAuthValue. Half of its authorisation value lies in the *gate*, a sealed
object that opens by PolicySecret(index). Without it, a session bound to the key (TCG TPM 2.0 Library Part 1, 19.6.10)
would tell whether a candidate for the value is right, as often as one likes and counted nowhere; to a PIN-fail index no
session can be bound. Whoever answers the PIN may replace it, by PolicySecret(index) again: that is no part of the
index's own policy, which would contain its own Name, but approved (PolicyAuthorize) by a key made for this one
signature. PolicyAuthValue in its place would keep no limit.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss import (
    ESYS_TR,
    TPM2_CC,
    TPM2_SE,
    TPM2B_NAME,
    TPM2B_NV_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_DIGEST,
    TPMS_SENSITIVE_CREATE,
)

from drivers.tpm2 import _grants, _keys, _policy, _seal, _templates
from drivers.tpm2._blob import SealedBlob
from drivers.tpm2._errors import LOCKED, OWNER_REFUSED, WRONG_AUTH, foreign
from drivers.tpm2._nv import GUARD, indices
from drivers.tpm2._policy import IndexPolicy
from drivers.tpm2._tpm import DECRYPT, ENCRYPT, Tpm, refusing, whole
from hal import AuthorisationFailed, Grant, GuardedKey, Locked, NotFound, NvCertification, OwnerCommand, PinState

_GATE_BYTES = 32
_INITIAL_BYTES = 32
_POINT_BYTES = 65
_REFUSED = frozenset({WRONG_AUTH, OWNER_REFUSED})
_OTHER_POLICY = frozenset({0x09D})
_BAD_POINT = frozenset({0x0A7})
_BAD_RESET = frozenset({0x084, 0x09B, 0x09F, 0x0A1, 0x0A4})
_GONE_SESSION = frozenset({0x084, 0x08B, 0x09F, 0x0A2, 0x0A3, 0x910, 0x918})


@dataclass(frozen=True)
class Limits:
    """What a new guard is made of."""

    label: str
    limit: int
    reset_key: bytes


def policy_of(label: str, reset_key: bytes, change_key: bytes) -> IndexPolicy:
    """The policy of the index of a guard."""
    reset, change = (bytes(_templates.approving_key(key).get_name()) for key in (reset_key, change_key))
    return IndexPolicy.of(reset, change, GUARD.mark(label))


def plan(tpm: Tpm, label: str, reset_key: bytes) -> OwnerCommand:
    """The definition of an index, for the holder of the reset key to allow.

    It begins with a value that its maker shows with the command, and that the PIN takes the place of at once.
    """
    changer, initial = ec.generate_private_key(ec.SECP256R1()), secrets.token_bytes(_INITIAL_BYTES)
    with indices(tpm) as nv:
        public = nv.vacant(GUARD, label, policy_of(label, reset_key, _point(changer)).digest)
    planned = _Planned(label, reset_key, changer, initial, public)
    marshalled = bytes(public.marshal())
    waiting = _grants.begin(tpm, _policy.define_command(initial, marshalled), planned)
    return OwnerCommand(waiting.nonce, marshalled, initial, _point(changer))


def create(tpm: Tpm, wanted: Limits, pin: bytes, auth: bytes, qualifying: bytes) -> GuardedKey:
    """Index, gate and key, in this order; interrupted half-way, what is there opens nothing and is replaced."""
    changer = ec.generate_private_key(ec.SECP256R1())
    branches = policy_of(wanted.label, wanted.reset_key, _point(changer))
    with indices(tpm) as nv:
        nv.remove(GUARD, wanted.label)
        number, _ = nv.ensure(GUARD, wanted.label, pin, branches.digest)
    return _completed(tpm, wanted, changer, _limited(tpm, number, branches, wanted.limit, qualifying), auth, qualifying)


def create_granted(tpm: Tpm, wanted: Limits, pin: bytes, auth: bytes, qualifying: bytes, grant: Grant) -> GuardedKey:
    """The same, of the index that `plan` planned."""
    waiting = _grants.pending(tpm)
    planned = waiting.plan
    if not isinstance(planned, _Planned) or (planned.label, planned.reset_key) != (wanted.label, wanted.reset_key):
        raise AuthorisationFailed("another guard was planned than this one", remedy="Plan it anew.")
    with indices(tpm) as nv, _grants.granted(tpm, waiting, wanted.reset_key, grant) as session:
        nv.define(planned.public, planned.initial, session)
    branches = policy_of(wanted.label, wanted.reset_key, _point(planned.changer))
    index = _limited(tpm, int(planned.public.nvPublic.nvIndex), branches, wanted.limit, qualifying)
    key = _completed(tpm, wanted, planned.changer, index, auth, qualifying)
    change_pin(tpm, key, planned.initial, pin)
    return key


def sign(tpm: Tpm, key: GuardedKey, pin: bytes, auth: bytes, digest: bytes) -> bytes:
    """Answer the PIN for the gate, and again for the key: a policy session that was used forgets what it was shown."""
    gate = SealedBlob.unpack(key.gate)
    with (
        _keys.own_root(tpm, key.key) as root,
        _index(tpm, key) as index,
        tpm.session(root, 0) as plain,
        tpm.session(root, ENCRYPT, TPM2_SE.POLICY) as policy,
    ):
        tpm.esys.tr_set_auth(index, pin)
        half = _opened(tpm, root, gate, _Answer(index, plain, policy))
        with tpm.loaded(root, key.key.public, key.key.private, _joined(half, auth)) as handle:
            _answer(tpm, _Answer(index, plain, policy))
            tpm.esys.policy_auth_value(policy)
            tpm.protect(policy, DECRYPT)
            with refusing(_REFUSED, _wrong("authorisation value")), refusing(_OTHER_POLICY, _replaced()):
                return _keys.signed(tpm, handle, digest, policy)


def change_pin(tpm: Tpm, key: GuardedKey, old: bytes, new: bytes) -> None:
    """TPM2_NV_ChangeAuth, which the TPM does whole or not at all; the new value is encrypted on the bus."""
    name = name_of(key.index.public)
    approved = _policy.changing(name)
    message = approved + _policy.CHANGE_REFERENCE
    with _index(tpm, key) as index:
        with refusing(_BAD_POINT, _replaced()):
            ticket = _seal.verified(tpm, key.change[:_POINT_BYTES], message, key.change[_POINT_BYTES:], _replaced())
        with tpm.salted(0) as plain, tpm.salted(DECRYPT, TPM2_SE.POLICY) as policy:
            tpm.esys.tr_set_auth(index, old)
            _answer(tpm, _Answer(index, plain, policy))
            tpm.esys.policy_command_code(policy, TPM2_CC.NV_ChangeAuth)
            tpm.esys.policy_authorize(
                policy,
                approved_policy=approved,
                key_sign=TPM2B_NAME(bytes(_templates.approving_key(key.change[:_POINT_BYTES]).get_name())),
                check_ticket=ticket,
                policy_ref=_policy.CHANGE_REFERENCE,
            )
            tpm.esys.policy_or(policy, TPML_DIGEST(list(branches_of(key).branches)))
            tpm.esys.nv_change_auth(index, new, session1=policy)


def state(tpm: Tpm, key: GuardedKey) -> PinState:
    """The counters, which anybody may read."""
    with _index(tpm, key) as index, tpm.salted(0, TPM2_SE.POLICY) as policy:
        _finish(tpm, policy, TPM2_CC.NV_Read, branches_of(key))
        content = bytes(tpm.esys.nv_read(index, GUARD.size, 0, index, session1=policy))
    return PinState(int.from_bytes(content[:4], "big"), int.from_bytes(content[4:], "big"))


def certify(tpm: Tpm, key: GuardedKey, qualifying: bytes) -> NvCertification:
    """The AK's word on the counters."""
    with _index(tpm, key):
        pass
    return _certified(tpm, handle_of(key), branches_of(key), qualifying)


def reset_nonce(tpm: Tpm, key: GuardedKey) -> bytes:
    """Start the session that the reset will be authorised by, and put it aside: it takes no slot meanwhile."""
    forget_reset(tpm)
    with _index(tpm, key), tpm.storage_root() as root:
        session = tpm.started(root, 0, TPM2_SE.POLICY)
        nonce = bytes(tpm.esys.trsess_get_nonce_tpm(session))
        tpm.pending_reset = _Pending(name_of(key.index.public), nonce, tpm.esys.context_save(session))
    return nonce


def reset(tpm: Tpm, key: GuardedKey, signature: bytes) -> None:
    """TPM2_PolicySigned over the nonce and the one write, then that write."""
    limit = state(tpm, key).limit
    pending, tpm.pending_reset = tpm.pending_reset, None
    name = name_of(key.index.public)
    if pending is None or pending.name != name:
        raise _no_reset()
    with _index(tpm, key) as index, refusing(_BAD_RESET, _bad_reset()):
        with refusing(_GONE_SESSION, _no_reset()):
            session = tpm.esys.context_load(pending.context)
        with tpm.flushed(session):
            signer = tpm.esys.load_external(_templates.approving_key(key.reset_key), hierarchy=ESYS_TR.NULL)
            with tpm.flushed(signer):
                tpm.esys.policy_signed(
                    signer,
                    session,
                    auth=_seal.ecdsa(signature),
                    nonce_tpm=pending.nonce,
                    cp_hash_a=_policy.reset_command(name, limit),
                    policy_ref=_policy.RESET_REFERENCE,
                    expiration=0,
                )
            _finish(tpm, session, TPM2_CC.NV_Write, branches_of(key))
            tpm.esys.nv_write(index, _policy.reset_content(limit), 0, index, session1=session)


def remove(tpm: Tpm, key: GuardedKey) -> None:
    """Undefine the index, by the owner's authorisation."""
    with indices(tpm) as nv:
        nv.remove(GUARD, key.label)


def plan_removal(tpm: Tpm, key: GuardedKey) -> OwnerCommand | None:
    """The index's removal, for the holder of the reset key to allow; nothing where the index is gone."""
    if not tpm.handles(handle_of(key), handle_of(key)):
        return None
    waiting = _grants.begin(tpm, _policy.undefine_command(name_of(key.index.public)))
    return OwnerCommand(waiting.nonce, key.index.public)


def remove_granted(tpm: Tpm, key: GuardedKey, grant: Grant) -> None:
    """The removal that `plan_removal` planned."""
    waiting = _grants.pending(tpm, _policy.undefine_command(name_of(key.index.public)))
    with _grants.granted(tpm, waiting, key.reset_key, grant) as session:
        tpm.esys.nv_undefine_space(tpm.esys.tr_from_tpmpublic(handle_of(key)), session1=session)


def forget_reset(tpm: Tpm) -> None:
    """Give up the session of a reset that was begun: a TPM keeps account of those that lie saved, too."""
    pending, tpm.pending_reset = tpm.pending_reset, None
    if pending is not None:
        with tpm.flushed(tpm.esys.context_load(pending.context)):
            pass


def branches_of(key: GuardedKey) -> IndexPolicy:
    """The policy of the key's index."""
    return policy_of(key.label, key.reset_key, key.change[:_POINT_BYTES])


def handle_of(key: GuardedKey) -> int:
    """Where the index lies."""
    public = whole(TPM2B_NV_PUBLIC, key.index.public)
    area = public.nvPublic
    return int(area.nvIndex)


def name_of(index_public: bytes) -> bytes:
    """Name of the index in a TPM2B_NV_PUBLIC."""
    public = whole(TPM2B_NV_PUBLIC, index_public)
    return bytes(public.get_name())


@dataclass(frozen=True)
class _Planned:
    """An index that is to be defined as `public`, with the value `initial`, and the key that approves its change."""

    label: str
    reset_key: bytes
    changer: ec.EllipticCurvePrivateKey = field(repr=False)
    initial: bytes = field(repr=False)
    public: TPM2B_NV_PUBLIC


@dataclass(frozen=True)
class _Pending:
    name: bytes
    nonce: bytes
    context: Any


@dataclass(frozen=True)
class _Answer:
    """The index with its PIN set, the session that carries the PIN's HMAC, and the one that learns of it."""

    index: Any
    plain: Any
    policy: Any


def _answer(tpm: Tpm, given: _Answer) -> None:
    with _counted():
        tpm.esys.policy_secret(given.index, given.policy, expiration=0, session1=given.plain)


def _opened(tpm: Tpm, root: Any, gate: SealedBlob, given: _Answer) -> bytes:
    with tpm.loaded(root, gate.public, gate.private) as handle:
        _answer(tpm, given)
        with refusing(_OTHER_POLICY, _replaced()):
            half = tpm.esys.unseal(handle, session1=given.policy)
        return bytes(half)


def _limited(tpm: Tpm, number: int, branches: IndexPolicy, limit: int, qualifying: bytes) -> NvCertification:
    """The first write of a new index, which gives it its limit."""
    with tpm.known(number) as index, tpm.salted(0, TPM2_SE.POLICY) as policy:
        tpm.esys.policy_nv_written(policy, False)
        _finish(tpm, policy, TPM2_CC.NV_Write, branches)
        tpm.esys.nv_write(index, _policy.reset_content(limit), 0, index, session1=policy)
    return _certified(tpm, number, branches, qualifying)


def _completed(
    tpm: Tpm,
    wanted: Limits,
    changer: ec.EllipticCurvePrivateKey,
    index: NvCertification,
    auth: bytes,
    qualifying: bytes,
) -> GuardedKey:
    """Gate and key behind an index that is there."""
    name = name_of(index.public)
    change = _point(changer) + _approved(changer, _policy.changing(name))
    half = secrets.token_bytes(_GATE_BYTES)
    gate = _sealed(tpm, half, _policy.gate_policy(name))
    template = _templates.guarded_key(_policy.key_policy(name))
    key = _keys.make(tpm, template, _joined(half, auth), qualifying)
    return GuardedKey(wanted.label, key, index, gate, wanted.reset_key, change)


def _certified(tpm: Tpm, number: int, branches: IndexPolicy, qualifying: bytes) -> NvCertification:
    with indices(tpm) as nv, tpm.salted(0, TPM2_SE.POLICY) as policy:
        _finish(tpm, policy, TPM2_CC.NV_Certify, branches)
        return nv.certify(number, GUARD, qualifying, by=policy)


def _sealed(tpm: Tpm, secret: bytes, policy: bytes) -> bytes:
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=secret))
    with tpm.storage_root() as root, tpm.session(root, DECRYPT | ENCRYPT) as session:
        private, public, _, _, _ = tpm.esys.create(root, sensitive, _templates.sealed_object(policy), session1=session)
        return SealedBlob((), tpm.name(root), public.marshal(), private.marshal()).pack()


def _finish(tpm: Tpm, session: Any, command: int, branches: IndexPolicy) -> None:
    """Bind the session to one command, and show it which branch of the index's policy it went through."""
    tpm.esys.policy_command_code(session, command)
    tpm.esys.policy_or(session, TPML_DIGEST(list(branches.branches)))


@contextmanager
def _index(tpm: Tpm, key: GuardedKey) -> Iterator[Any]:
    """The key's index in the TPM; raises `NotFound` without one, `AuthorisationFailed` for another in its place."""
    number = handle_of(key)
    if not tpm.handles(number, number):
        raise NotFound(
            f"the PIN index of {key.label!r} is gone from the TPM",
            remedy="Somebody removed it, or the TPM was cleared: enrol this administrator again.",
        )
    with tpm.known(number) as index:
        if tpm.name(index) != name_of(key.index.public):
            raise _replaced()
        yield index


@contextmanager
def _counted() -> Iterator[None]:
    locked = Locked("the PIN is locked after too many wrong answers")
    with refusing(_REFUSED, _wrong("PIN")), refusing(frozenset({LOCKED}), locked):
        yield


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _approved(changer: ec.EllipticCurvePrivateKey, policy: bytes) -> bytes:
    signature = changer.sign(policy + _policy.CHANGE_REFERENCE, ec.ECDSA(hashes.SHA256()))
    return b"".join(half.to_bytes(32, "big") for half in utils.decode_dss_signature(signature))


def _joined(half: bytes, auth: bytes) -> bytes:
    """The key's authorisation value, of which neither half tells anything."""
    return hmac.digest(half, b"keyvigil guarded key 1\0" + auth, "sha256")


def _wrong(what: str) -> AuthorisationFailed:
    return AuthorisationFailed(f"the {what} is wrong", remedy="Answer again, before the limit is reached.")


def _replaced() -> AuthorisationFailed:
    return foreign("using the PIN index")


def _no_reset() -> AuthorisationFailed:
    return AuthorisationFailed("no reset of this PIN was begun, or the TPM was reset since", remedy="Begin it anew.")


def _bad_reset() -> AuthorisationFailed:
    return AuthorisationFailed(
        "the reset is not signed by the authority, for this nonce and this PIN", remedy="Begin the reset anew."
    )
