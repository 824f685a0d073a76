"""The node's identity on disk: TLS key and certificate, the authority's CA, and the delivery key's wrapped blob."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import NameOID

from agent.durable import read_struct, remove, write_private
from agent.errors import NotJoined, StateError
from agent.state import StateDirectory
from hal import CertifiedKey, Deadline
from protocol.checkpoint import origin_of
from protocol.codec import ProtocolViolation, encode
from protocol.digests import certificate_thumbprint
from protocol.levels import EnclaveKind

IDENTITY_VERSION = 1
RENEWAL_WAIT_S = 60.0
UNREADABLE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises over a certificate or key that somebody else made."""


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An enclave key as it lies on disk, with its certification; `private` is wrapped by the enclave."""

    public: bytes
    private: bytes
    attest: bytes
    signature: bytes

    @classmethod
    def of(cls, key: CertifiedKey) -> StoredKey:
        """The form that goes to disk."""
        return cls(key.public, key.private, key.attest, key.signature)

    def __repr__(self) -> str:
        return "StoredKey()"

    def certified(self) -> CertifiedKey:
        """The form that the enclave takes."""
        return CertifiedKey(self.public, self.private, self.attest, self.signature)


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Content of identity.json. `tls_file` names the PEM beside it that holds certificate and private key.

    `identity_key` makes statements where the enclave, of kind `enclave_kind`, attests to nothing. `next_ca` is trusted
    beside `ca`, and takes its place with the first certificate that it issues; `log_origin` names the audit log then.
    """

    version: int
    node_id: str
    name: str
    authority: str
    ca: str
    kos_public: bytes
    tls_file: str
    pcr_selection: list[int]
    delivery_key: StoredKey
    joined_at: float
    enclave_kind: EnclaveKind = EnclaveKind.TPM2
    identity_key: StoredKey | None = None
    next_ca: str = ""
    log_origin: str = ""

    @property
    def roots(self) -> list[str]:
        """The CAs that are trusted, in PEM: the present one, and the one that it vouched for."""
        return [self.ca, self.next_ca] if self.next_ca else [self.ca]

    @property
    def trusted(self) -> str:
        """All of them in one PEM text."""
        return "".join(self.roots)

    @property
    def log_trust(self) -> LogTrust:
        """Whose word for the audit log's key counts, and the name of the log."""
        roots = [load_ca(each) for each in self.roots]
        return LogTrust(roots, self.log_origin or origin_of(roots[0].public_bytes(Encoding.DER)))


@dataclass(frozen=True)
class LogTrust:
    """The audit log `origin`, whose key one of `roots` certifies."""

    roots: list[x509.Certificate]
    origin: str

    @classmethod
    def of_ca(cls, ca: str) -> LogTrust:
        """The log of the authority that has this CA (PEM) from its beginning."""
        root = load_ca(ca)
        return cls([root], origin_of(root.public_bytes(Encoding.DER)))


@dataclass(frozen=True)
class TlsKey:
    """A software P-256 key for TLS, not yet certified or loaded from disk."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> TlsKey:
        """A new key from the system's generator."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def request(self, name: str) -> bytes:
        """PKCS #10 request in DER with `name` as common name."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        return builder.sign(self.private, SHA256()).public_bytes(Encoding.DER)

    def pem(self) -> bytes:
        """PKCS #8 in PEM, unencrypted: it goes into a 0600 file and nowhere else."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass(frozen=True)
class Certificate:
    """The node's client certificate: thumbprint as 64 hexadecimal digits, validity in POSIX seconds."""

    thumbprint: str
    not_before: float
    not_after: float

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Certificate:
        """What the agent needs to know of `certificate`."""
        return cls(
            certificate_thumbprint(certificate.public_bytes(Encoding.DER)),
            certificate.not_valid_before_utc.timestamp(),
            certificate.not_valid_after_utc.timestamp(),
        )

    def renew_at(self, jitter: float) -> float:
        """Two thirds of the lifetime, moved by `jitter` in [-1, 1] times a twentieth of it."""
        life = self.not_after - self.not_before
        return self.not_before + life * (2 / 3 + jitter / 20)


def check_certificate(pem: str, key: TlsKey, ca: x509.Certificate, node_id: str) -> x509.Certificate:
    """The leaf in `pem` if it certifies `key` for `node_id` under `ca`; raises `ProtocolViolation`."""
    try:
        leaf = x509.load_pem_x509_certificates(pem.encode())[0]
        leaf.verify_directly_issued_by(ca)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        certified = leaf.public_key()
    except UNREADABLE:
        raise ProtocolViolation("the authority's certificate for this node is not one of its CA") from None
    if uris != [f"keyvigil://node/{node_id}"] or _spki(certified) != _spki(key.private.public_key()):
        raise ProtocolViolation("the authority certified another node or another key")
    return leaf


def load_ca(pem: str) -> x509.Certificate:
    """The one certificate in `pem`; raises `ProtocolViolation`."""
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ProtocolViolation("the authority's CA is not one PEM certificate") from None
    return certificate


def load_kos_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """The Key Orchestration Service's P-256 key; raises `ProtocolViolation`."""
    try:
        key = load_der_public_key(der)
    except UNREADABLE:
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ProtocolViolation("the key of the Key Orchestration Service is not a P-256 key")
    return key


class IdentityStore:
    """Identity and TLS file in a state directory; identity.json is the commit point of every change."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the right to replace the identity against other processes; raises `Busy`."""
        with self._state.identity_lock(Deadline.after(RENEWAL_WAIT_S)):
            yield

    def exists(self) -> bool:
        """Whether this node has joined."""
        return self._state.identity.is_file()

    def load(self) -> Identity:
        """The identity; raises `NotJoined` or `StateError`."""
        identity = read_struct(self._state.identity, Identity)
        if identity is None:
            raise NotJoined("this node has not joined an authority")
        if identity.version != IDENTITY_VERSION or Path(identity.tls_file).name != identity.tls_file:
            raise StateError(f"{self._state.identity} is of another version", remedy="Join again with --rejoin.")
        return identity

    def commit(self, identity: Identity, certificate: str, key: TlsKey) -> Identity:
        """Store a new certificate and key, then `identity` naming them; the files before it go afterwards, and with
        them what a crash left half-written."""
        text = certificate.rstrip() + "\n"
        name = f"tls-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pem"
        write_private(self._state.root / name, text.encode() + key.pem())
        stored = msgspec.structs.replace(identity, tls_file=name)
        write_private(self._state.identity, encode(stored))
        for old in (*self._state.root.glob("tls-*.pem"), *self._state.root.glob(".tls-*.pem.new")):
            if old.name != name:
                remove(old)
        return stored

    def trust_next(self, identity: Identity, next_ca: str) -> Identity:
        """Store that another CA (PEM) is trusted beside the present one."""
        stored = msgspec.structs.replace(identity, next_ca=next_ca)
        write_private(self._state.identity, encode(stored))
        return stored

    def tls_path(self, identity: Identity) -> Path:
        """The PEM file with certificate and key."""
        return self._state.root / identity.tls_file

    def certificate(self, identity: Identity) -> Certificate:
        """The client certificate; raises `StateError` when it is missing or damaged."""
        path = self.tls_path(identity)
        try:
            return Certificate.of(x509.load_pem_x509_certificates(path.read_bytes())[0])
        except (OSError, ValueError):
            raise StateError(f"{path} holds no certificate", remedy="Join again with --rejoin.") from None

    def tls_context(self, identity: Identity, *, with_certificate: bool = True) -> ssl.SSLContext:
        """TLS 1.3 that trusts the pinned CA alone; raises `StateError`."""
        context = pinned_context(identity.trusted)
        if with_certificate:
            path = self.tls_path(identity)
            try:
                context.load_cert_chain(path)
            except (OSError, ssl.SSLError):
                raise StateError(f"{path} holds no usable key", remedy="Join again with --rejoin.") from None
        return context


def pinned_context(ca_pem: str) -> ssl.SSLContext:
    """Client context that accepts TLS 1.3 with a host certificate of this CA, or these, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca_pem)
    return context


def unverified_context() -> ssl.SSLContext:
    """Client context for the one request that fetches the CA, whose hash the join token pins."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ProtocolViolation("the authority certified a key of another kind")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
