"""One TPM context: keys, sessions and capabilities, each flushed when its `with` block ends.

At most three transient objects and two sessions are loaded at a time: emulators and small chips have three slots each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_SE,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPMA_SESSION,
    TPMT_SYM_DEF,
    TSS2_Exception,
)

from drivers.tpm2 import _templates
from drivers.tpm2._errors import OWNER_REFUSED, foreign, is_parameter_error, tpm_code
from hal import AuthorisationFailed, DeviceError

ENCRYPT = TPMA_SESSION.ENCRYPT
DECRYPT = TPMA_SESSION.DECRYPT
NV_BUFFER_MAX = 0x12C
"""TPM_PT value: TCG TPM 2.0 Library Part 2, 6.13."""
STORAGE_ROOT_HANDLE = 0x81000001
"""Where the storage root is kept if anybody made it persistent (TCG TPM v2.0 Provisioning Guidance 1.0, 7.8)."""
_TRANSIENT, _LOADED_SESSIONS = 0x80000000, 0x02000000
"""Asked for from here on, a TPM lists its transient objects, and its loaded sessions of every kind: Part 3, 30.2."""

_UNIQUE = bytes(2 * (2 + 32))
"""The end of an ECC public area: both coordinates with their sizes."""


class Tpm:
    """An ESAPI context. Not thread safe: use it on one thread only.

    The names bound to returned objects in this package are not decoration: a temporary of tpm2-pytss that is
    chained (`get()[1].data`) frees the memory that its parts lie in.
    """

    def __init__(self, tcti: str, owner_auth: bytes = b"") -> None:
        """Connect; `owner_auth` is the owner hierarchy's authorisation value. Raises `TSS2_Exception`."""
        self._tcti = tcti
        self._owner_auth = owner_auth
        self._root = b""
        self.pending_reset: Any = None
        """The saved session that the next reset of a guard goes on in, with its nonce and the index's Name."""
        self.pending_grant: Any = None
        """The saved session that a command of the owner's will be given in, once it is allowed."""
        self.broken = False
        """Whether nothing but `recover` and `close` may be called."""
        self.esys = self._connected()

    def close(self) -> None:
        """Release the context."""
        self.esys.close()

    def recover(self) -> None:
        """Start anew after an error that left the context in the middle of a command.

        Such a context cannot even unload what it holds. Raises `TSS2_Exception` when the TPM does not answer; the
        context is then `broken`, and lets go of the connection.
        """
        self.broken = True
        self.esys.close()
        self.esys = self._connected()
        try:
            self.sweep()
        except TSS2_Exception:
            self.esys.close()
            raise
        self.broken = False

    def sweep(self) -> None:
        """Unload everything that is loaded: what a lost answer, or a program that was killed, left behind.

        Behind the kernel's resource manager that is our own alone. A raw device is ours alone too. On an emulator
        whoever else holds something in this moment loses it; that is better than a TPM without a free slot.
        """
        for number in self.in_slots():
            with suppress(TSS2_Exception):
                self.esys.flush_context(self.esys.tr_from_tpmpublic(number))

    def _connected(self) -> ESAPI:
        esys = ESAPI(self._tcti)
        esys.tr_set_auth(ESYS_TR.OWNER, self._owner_auth)
        return esys

    @contextmanager
    def owned(self, owner: bytes) -> Iterator[None]:
        """Within the block, the owner's authorisation is `owner`, where one is given."""
        before = self._owner_auth
        self._use_owner_auth(owner or before)
        try:
            yield
        finally:
            self._use_owner_auth(before)

    def _use_owner_auth(self, owner: bytes) -> None:
        self._owner_auth = owner
        self.esys.tr_set_auth(ESYS_TR.OWNER, owner)

    @contextmanager
    def flushed(self, handle: Any) -> Iterator[Any]:
        """Unload `handle` at the end, whatever happened; what happened first is what is reported."""
        try:
            yield handle
        except BaseException:
            with suppress(TSS2_Exception):
                self.esys.flush_context(handle)
            raise
        self.esys.flush_context(handle)

    @contextmanager
    def known(self, handle: int) -> Iterator[Any]:
        """A resource that is in the TPM already (persistent key, NV index)."""
        resource = self.esys.tr_from_tpmpublic(handle)
        try:
            yield resource
        finally:
            self.esys.tr_close(resource)

    @contextmanager
    def primary(self, hierarchy: Any, template: Any) -> Iterator[tuple[Any, bytes]]:
        """A primary key and its public area as TPM2B_PUBLIC."""
        handle, public, _, _, _ = self.esys.create_primary(None, template, hierarchy)
        with self.flushed(handle):
            yield handle, public.marshal()

    @contextmanager
    def storage_root(self) -> Iterator[Any]:
        """The storage root key: parent of everything made here, and what the sessions are salted to.

        Raises `AuthorisationFailed` when it is another one than before on this connection: the TPM was cleared, or
        somebody on the bus offers a key of his own.
        """
        with ExitStack() as stack:
            try:
                handle = stack.enter_context(self.owned_root())
            except TSS2_Exception as error:
                if tpm_code(error.rc) != OWNER_REFUSED:
                    raise
                handle = stack.enter_context(self._kept_root(error))
            self._root = self._root or self.name(handle)
            if self.name(handle) != self._root:
                raise foreign("using the storage root")
            yield handle

    @contextmanager
    def owned_root(self) -> Iterator[Any]:
        """Made anew, which needs the owner's authorisation; where it is not empty, it never crosses the bus."""
        template, session = _templates.storage_root(), ESYS_TR.PASSWORD
        with ExitStack() as stack:
            if self._owner_auth:
                with self.primary(ESYS_TR.NULL, template) as (salt, _):
                    session = stack.enter_context(self.session(salt, 0))
            made = self.esys.create_primary(None, template, ESYS_TR.OWNER, session1=session)
            yield stack.enter_context(self.flushed(made[0]))

    @contextmanager
    def _kept_root(self, refusal: TSS2_Exception) -> Iterator[Any]:
        """The persistent one, which anybody may use: for a node whose owner authorisation lies elsewhere."""
        if not self.has_kept_root():
            raise refusal
        with self.known(STORAGE_ROOT_HANDLE) as handle:
            yield handle

    def has_kept_root(self) -> bool:
        """Whether a key of the storage root's template is kept where it belongs."""
        if STORAGE_ROOT_HANDLE not in self.handles(STORAGE_ROOT_HANDLE, STORAGE_ROOT_HANDLE):
            return False
        with self.known(STORAGE_ROOT_HANDLE) as handle:
            public, _, _ = self.esys.read_public(handle)
            return bool(public.marshal()[: -len(_UNIQUE)] == _templates.storage_root().marshal()[: -len(_UNIQUE)])

    @contextmanager
    def salted(self, protect: int, kind: int = TPM2_SE.HMAC) -> Iterator[Any]:
        """A session salted to the storage root, which does not stay loaded meanwhile."""
        with ExitStack() as stack:
            with self.storage_root() as root:
                session = stack.enter_context(self.session(root, protect, kind))
            yield session

    @contextmanager
    def attestation_key(self) -> Iterator[tuple[Any, bytes]]:
        """The AK and its public area."""
        with self.primary(ESYS_TR.ENDORSEMENT, _templates.attestation_key()) as made:
            yield made

    @contextmanager
    def session(self, salt: Any, protect: int, kind: int = TPM2_SE.HMAC) -> Iterator[Any]:
        """A session salted to the key `salt`, that encrypts what `protect` names (`DECRYPT`: towards the TPM)."""
        with self.flushed(self.started(salt, protect, kind)) as handle:
            yield handle

    def started(self, salt: Any, protect: int, kind: int) -> Any:
        """The same session, which the caller ends."""
        handle = self.esys.start_auth_session(
            salt, ESYS_TR.NONE, kind, TPMT_SYM_DEF.parse("aes128cfb"), TPM2_ALG.SHA256
        )
        self.protect(handle, protect)
        return handle

    def protect(self, session: Any, which: int) -> None:
        """Choose what `session` encrypts from now on."""
        self.esys.trsess_set_attributes(session, which | TPMA_SESSION.CONTINUESESSION)

    @contextmanager
    def loaded(self, root: Any, public: bytes, private: bytes, auth: bytes = b"") -> Iterator[Any]:
        """A child of the storage root; raises `AuthorisationFailed` for one of another TPM."""
        with refusing_foreign_blobs("loading a key"):
            handle = self.esys.load(root, whole(TPM2B_PRIVATE, private), whole(TPM2B_PUBLIC, public))
        with self.flushed(handle):
            self.esys.tr_set_auth(handle, auth)
            yield handle

    def name(self, handle: Any) -> bytes:
        """Name of a loaded object: algorithm and digest of its public area."""
        return bytes(self.esys.tr_get_name(handle))

    def properties(self, first: int, count: int) -> dict[int, int]:
        """TPM_PT values from `first` on."""
        _, found = self.esys.get_capability(TPM2_CAP.TPM_PROPERTIES, first, count)
        wanted = range(first, first + count)
        return {int(p.property): int(p.value) for p in found.data.tpmProperties if int(p.property) in wanted}

    def in_slots(self) -> list[int]:
        """Everything that occupies a slot: transient objects, and loaded sessions, those of policies included."""
        found: list[int] = []
        for first in (_TRANSIENT, _LOADED_SESSIONS):
            _, answer = self.esys.get_capability(TPM2_CAP.HANDLES, first, 64)
            found += [int(handle) for handle in answer.data.handles]
        return found

    def handles(self, first: int, last: int) -> list[int]:
        """Handles in use between `first` and `last`."""
        found: list[int] = []
        more = True
        while more and first <= last:
            more, answer = self.esys.get_capability(TPM2_CAP.HANDLES, first, 64)
            page = [int(handle) for handle in answer.data.handles]
            found += [handle for handle in page if handle <= last]
            more = more and bool(page)
            first = max(page, default=last) + 1
        return found


@contextmanager
def refusing_foreign_blobs(what: str, also: int | None = None) -> Iterator[None]:
    """Any parameter that the TPM refuses inside, and the code `also`, mean a blob that is damaged or of another TPM."""
    try:
        yield
    except TSS2_Exception as error:
        if is_parameter_error(error.rc) or error.rc == also:
            raise foreign(what) from None
        raise


@contextmanager
def refusing(codes: frozenset[int], refusal: DeviceError) -> Iterator[None]:
    """Say `refusal` when the TPM answers with one of `codes`, whichever parameter or session they name."""
    try:
        yield
    except TSS2_Exception as error:
        if tpm_code(error.rc) in codes:
            raise refusal from None
        raise


def whole(kind: Any, marshalled: bytes) -> Any:
    """The structure in `marshalled`, all of it: the C library ignores what follows and tolerates what is cut off."""
    try:
        value, used = kind.unmarshal(marshalled)
    except TSS2_Exception:
        raise AuthorisationFailed("TPM: a stored key or blob is damaged") from None
    if used != len(marshalled):
        raise AuthorisationFailed("TPM: a stored key or blob is damaged: it has extra bytes")
    return value
