"""The enclave as the rest of the node sees it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec

from drivers.enclave_arguments import (
    check_auth,
    check_count,
    check_length,
    check_no_pcrs,
    check_secret,
    load_point,
)
from drivers.software_enclave._folder import Folder
from drivers.software_enclave._keys import CHECK_BYTES, MASTER_BYTES, MasterKey, sign
from hal import (
    Approval,
    Capability,
    CertifiedKey,
    Deadline,
    DeviceInfo,
    DeviceKind,
    Disconnected,
    Enclave,
    EnclaveKind,
    EnclaveStatus,
    KeyUse,
    PcrSelection,
    SealAuthority,
    Transport,
)

MASTER_FILE = "master.key"
FLOOR_FILE = "floor"
MASTER_MAGIC = b"KVSWMASTER\x01"
_CAPABILITIES = frozenset({Capability.SIGN, Capability.AGREE, Capability.SEAL, Capability.COUNTER})
_LABEL = re.compile(r"[a-z0-9-]{1,32}")
_LARGEST_COUNT = 2**63 - 1
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


class SoftwareEnclave(Enclave):
    """Keys wrapped by a master key that lies in a file: whoever reads the folder has them all.

    A counter is a file too. Putting an old copy of the folder back takes the counter back with it, unnoticed.
    """

    kind = EnclaveKind.SOFTWARE

    def __init__(self, folder: Folder, master: MasterKey, info: DeviceInfo) -> None:
        """Made by `connect`."""
        self._folder = folder
        self._master: MasterKey | None = master
        self._info = info

    @classmethod
    def connect(cls, path: Path, deadline: Deadline) -> Self:
        """Claim the folder, and make the master key when it is new; raises `Busy`, `PermissionDenied`, `NotFound`."""
        folder = Folder(path, deadline)
        try:
            master = _master(folder)
        except BaseException:
            folder.close()
            raise
        return cls(folder, master, identity(str(path), _serial(master)))

    @property
    def info(self) -> DeviceInfo:
        """`port` is the folder; the serial number belongs to the master key."""
        return self._info

    def close(self) -> None:
        """Give the folder back; closing twice is allowed."""
        self._master = None
        self._folder.close()

    def status(self) -> EnclaveStatus:
        """That there is no device."""
        self._opened("status")
        return EnclaveStatus("Keyvigil", "software enclave", "1")

    def random(self, count: int) -> bytes:
        """`count` bytes (at most 4096) from the operating system."""
        check_count(count)
        self._opened("random")
        return secrets.token_bytes(count)

    def create_key(self, use: KeyUse, auth: bytes, qualifying: bytes) -> CertifiedKey:
        """A P-256 key without a certification; nothing is kept of it here."""
        check_length("qualifying data", qualifying, 32)
        check_auth(auth)
        return self._opened("making a key").make(use, auth)

    def sign(self, key: CertifiedKey, auth: bytes, digest: bytes) -> bytes:
        """64 bytes r ‖ s over a SHA-256 digest."""
        check_length("digest", digest, 32)
        check_auth(auth)
        return sign(self._opened("signing").load(KeyUse.SIGN, key, auth), digest)

    def agree(self, key: CertifiedKey, auth: bytes, peer: bytes) -> bytes:
        """x-coordinate (32 bytes) of the point shared with `peer`."""
        point = load_point(peer)
        check_auth(auth)
        return self._opened("agreeing on a key").load(KeyUse.AGREE, key, auth).exchange(ec.ECDH(), point)

    def seal(self, secret: bytes, selection: PcrSelection, authority: SealAuthority | None = None) -> bytes:
        """Encrypt 1 to 128 bytes under the master key."""
        if authority is not None:
            self._lacks(Capability.SEAL_APPROVED)
        check_secret(secret)
        check_no_pcrs(self.kind, selection)
        return self._opened("sealing").seal(secret)

    def unseal(self, blob: bytes, approval: Approval | None = None) -> bytes:
        """The secret that `seal` bound."""
        if approval is not None:
            self._lacks(Capability.SEAL_APPROVED)
        return self._opened("unsealing").unseal(blob)

    def counter(self, label: str) -> int:
        """Value of a counter; a new one begins, durably, above every one that was forgotten."""
        master, name = self._opened("reading a counter"), _counter_file(label)
        value = self._stored(master, name)
        if value is None:
            value = self._stored(master, FLOOR_FILE) or 0
            self._folder.write(name, master.pack_counter(name, value))
        return value

    def advance(self, label: str) -> int:
        """Add one; the new value is on the disk before it is returned."""
        value = min(self.counter(label) + 1, _LARGEST_COUNT)
        name = _counter_file(label)
        self._folder.write(name, self._opened("advancing a counter").pack_counter(name, value))
        return value

    def forget(self, label: str) -> None:
        """Remove a counter; what it came to is the floor of those that are made after it."""
        master, name = self._opened("forgetting a counter"), _counter_file(label)
        value = self._stored(master, name)
        if value is not None:
            floor = max(self._stored(master, FLOOR_FILE) or 0, min(value + 1, _LARGEST_COUNT))
            self._folder.write(FLOOR_FILE, master.pack_counter(FLOOR_FILE, floor))
            self._folder.remove(name)

    def _stored(self, master: MasterKey, name: str) -> int | None:
        """The value in a file, if there is one; raises `ProtocolError` for a damaged one."""
        data = self._folder.read(name)
        value = None if data is None else master.unpack_counter(name, data)
        if data is not None and value is None:
            raise self._folder.damaged(name)
        return value

    def _opened(self, what: str) -> MasterKey:
        if self._master is None:
            raise Disconnected(f"software enclave: {what} was not tried, it is closed", remedy="Open it again.")
        return self._master


def identity(folder: str, serial: str = "") -> DeviceInfo:
    """Who and where a software enclave is."""
    return DeviceInfo(
        kind=DeviceKind.ENCLAVE,
        driver="software",
        transport=Transport.SOFTWARE,
        port=folder,
        serial=serial,
        name="software enclave (keys in files)",
        capabilities=_CAPABILITIES,
    )


def peek(path: Path) -> str | None:
    """The serial number of the enclave in a folder that somebody else may hold; "" when it cannot be read.

    `None` where there is none.
    """
    try:
        descriptor = os.open(path / MASTER_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return None if error.errno in _NOT_THERE else ""
    try:
        stored = os.read(descriptor, len(MASTER_MAGIC) + MASTER_BYTES + CHECK_BYTES)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return _serial(MasterKey(stored[len(MASTER_MAGIC) : -CHECK_BYTES])) if stored.startswith(MASTER_MAGIC) else ""


def _serial(master: MasterKey) -> str:
    return hashlib.sha256(b"serial" + master.secret).hexdigest()[:16]


def _master(folder: Folder) -> MasterKey:
    """The master key, made and stored durably when there is none yet."""
    stored = folder.read(MASTER_FILE)
    if stored is None:
        fresh = secrets.token_bytes(MASTER_BYTES)
        folder.write(MASTER_FILE, MASTER_MAGIC + fresh + hashlib.sha256(fresh).digest())
        return MasterKey(fresh)
    secret, check = stored[len(MASTER_MAGIC) : -CHECK_BYTES], stored[-CHECK_BYTES:]
    intact = len(secret) == MASTER_BYTES and hashlib.sha256(secret).digest() == check
    if not stored.startswith(MASTER_MAGIC) or not intact:
        raise folder.damaged(MASTER_FILE)
    return MasterKey(secret)


def _counter_file(label: str) -> str:
    if _LABEL.fullmatch(label) is None:
        raise ValueError(f"not a label: {label!r}; 1 to 32 of a-z, 0-9 and - are allowed")
    return f"counter-{label}"
