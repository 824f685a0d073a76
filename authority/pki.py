"""The authority's own certificate authority: server certificate, node certificates, and the key that signs deliveries.

All keys are P-256. Source: RFC 5280; a node is named by a URI (`keyvigil://node/ID`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from authority.checkpoints import LogSigner
from protocol.checkpoint import LOG_KEY_USAGE, log_key, origin_of

APPROVAL_KEY = "approval.key"
CA_YEARS = 10
SERVER_DAYS = 365
RENEW_BEFORE_S = 30 * 86400.0
BACKDATED = dt.timedelta(minutes=5)
"""Certificates begin a little in the past, for nodes whose clock is behind; short-lived ones a quarter of their life,
so that two thirds of it, when they are renewed, still lie ahead."""
_COMMON_NAME_LENGTH = 64
"""X.520's upper bound; longer host names stand in the subject alternative name alone."""
_HOST = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


class PkiError(Exception):
    """Keys or certificates on disk cannot be used; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "Restore the `ca` folder of the state from its backup.") -> None:
        super().__init__(message)
        self.remedy = remedy


class RequestRefused(ValueError):
    """A certificate request that is not signed by a P-256 key of its own."""


@dataclass(frozen=True)
class CertificateAuthority:
    """The CA of one site, in a folder of its own (0700, keys 0600)."""

    folder: Path
    certificate: x509.Certificate
    kos_key: ec.EllipticCurvePrivateKey = field(repr=False)
    approval_key: ec.EllipticCurvePrivateKey = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, folder: Path, names: Sequence[str], now: float) -> CertificateAuthority:
        """New keys in a new folder, with a server certificate for `names` (host names, IP addresses).

        Raises `PkiError`, before anything is written, for a name that cannot stand in a certificate.
        """
        check_names(names)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise PkiError(f"cannot make {folder}: {error.strerror}", "Name an empty state folder.") from None
        key, kos_key, approval_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        certificate = self_signed(key, now)
        write_file(folder / "ca.key", key_pem(key))
        write_file(folder / "kos.key", key_pem(kos_key))
        write_file(folder / APPROVAL_KEY, key_pem(approval_key))
        write_file(folder / "ca.pem", certificate.public_bytes(Encoding.PEM), mode=0o644)
        authority = cls(folder, certificate, kos_key, approval_key, key)
        authority.renew_server(names, now)
        return authority

    @classmethod
    def load(cls, folder: Path) -> CertificateAuthority:
        """What `create` made; raises `PkiError` naming the file at fault."""
        certificate = folder / "ca.pem"
        try:
            parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise PkiError(f"{certificate} cannot be used: {error}") from None
        key = _load_key(folder / "ca.key")
        if parsed.public_key() != key.public_key():
            raise PkiError(f"{folder / 'ca.key'} does not belong to {certificate}")
        approval_key = folder / APPROVAL_KEY
        if not approval_key.exists():
            # An authority of before there were approvals: no node holds anything that names another key.
            write_file(approval_key, key_pem(ec.generate_private_key(ec.SECP256R1())))
        return cls(folder, parsed, _load_key(folder / "kos.key"), _load_key(approval_key), key)

    def ear_key(self) -> ec.EllipticCurvePrivateKey:
        """The key that attestation results are signed with; made when it is missing. Raises `PkiError`."""
        file = self.folder / "ear.key"
        if not file.exists():
            write_file(file, key_pem(ec.generate_private_key(ec.SECP256R1())))
        return _load_key(file)

    def log_signer(self, now: float) -> LogSigner:
        """Key and certificate of the audit log, made when the folder has none; raises `PkiError`."""
        key_file, file = self.folder / "log.key", self.folder / "log.pem"
        if not key_file.exists():
            write_file(key_file, key_pem(Ed25519PrivateKey.generate()))
        key = _load_log_key(key_file)
        if not file.exists():
            made = self.issue_leaf("Keyvigil audit log", key.public_key(), now, CA_YEARS * 365 * 86400.0, LOG_KEY_USAGE)
            write_file(file, made.public_bytes(Encoding.PEM), mode=0o644)
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)
            certified = log_key(certificate, self.certificate)
        except (OSError, ValueError) as error:
            raise PkiError(f"{file} cannot be used: {error}") from None
        if certified != key.public_key():
            raise PkiError(f"{key_file} does not belong to {file}")
        return LogSigner(self.log_origin, certificate, key)

    @property
    def log_origin(self) -> str:
        """The name of the audit log: of the first CA, whatever CA there is now."""
        kept = self.folder / "log.origin"
        return kept.read_text() if kept.exists() else origin_of(self.certificate.public_bytes(Encoding.DER))

    @property
    def client_roots(self) -> list[Path]:
        """Certificates (PEM) whose client certificates are good: this CA, and the one before until it retires."""
        return [file for file in (self.ca_file, self.folder / "old.pem") if file.exists()]

    @property
    def ca_file(self) -> Path:
        """The CA certificate (PEM)."""
        return self.folder / "ca.pem"

    @property
    def server_certificate_file(self) -> Path:
        """The server certificate (PEM)."""
        return self.folder / "server.pem"

    @property
    def server_key_file(self) -> Path:
        """The server's key (PEM, 0600)."""
        return self.folder / "server.key"

    @property
    def certificate_pem(self) -> str:
        """The CA certificate as PEM text."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def ca_sha256(self) -> str:
        """SHA-256 of the CA certificate (DER), hexadecimal: what join tokens name."""
        return hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).hexdigest()

    @property
    def kos_public(self) -> bytes:
        """Verification key of deliveries, DER SubjectPublicKeyInfo."""
        return self.kos_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def renew_server_if_due(self, names: Sequence[str], now: float) -> bool:
        """Renew the server certificate when less than a month of it is left; whether that was so."""
        current = x509.load_pem_x509_certificate(self.server_certificate_file.read_bytes())
        if current.not_valid_after_utc.timestamp() - now > RENEW_BEFORE_S:
            return False
        self.renew_server(names, now)
        return True

    def renew_server(self, names: Sequence[str], now: float) -> None:
        """A new server key and certificate for `names`; raises `PkiError`."""
        check_names(names)
        key = ec.generate_private_key(ec.SECP256R1())
        common_name = names[0] if len(names[0]) <= _COMMON_NAME_LENGTH else "Keyvigil authority"
        builder = self._builder(common_name, key.public_key(), now, SERVER_DAYS * 86400.0)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
        signed = self._sign(builder, ExtendedKeyUsageOID.SERVER_AUTH)
        write_file(self.server_key_file, key_pem(key))
        write_file(self.server_certificate_file, signed.public_bytes(Encoding.PEM), mode=0o644)

    def issue_node(self, csr: bytes, name: str, node_id: str, now: float, lifetime_s: float) -> x509.Certificate:
        """A client certificate for the key in `csr` (DER, PKCS #10); its subject is ours, not the request's.

        Raises `RequestRefused`.
        """
        public = request_key(csr)
        uri = x509.UniformResourceIdentifier(f"keyvigil://node/{node_id}")
        builder = self._builder(name, public, now, lifetime_s)
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        return self._sign(builder, ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue_leaf(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey | Ed25519PublicKey,
        now: float,
        lifetime_s: float,
        usage: x509.ObjectIdentifier,
    ) -> x509.Certificate:
        """A certificate for one purpose of the authority's own."""
        return self._sign(self._builder(name, public, now, lifetime_s), usage)

    def _builder(
        self, common_name: str, public: ec.EllipticCurvePublicKey | Ed25519PublicKey, now: float, lifetime_s: float
    ) -> x509.CertificateBuilder:
        begins, life = dt.datetime.fromtimestamp(now, dt.UTC), dt.timedelta(seconds=lifetime_s)
        return (
            x509.CertificateBuilder()
            .subject_name(_subject(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins - min(BACKDATED, life / 4))
            .not_valid_after(begins + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )

    def _sign(self, builder: x509.CertificateBuilder, usage: x509.ObjectIdentifier) -> x509.Certificate:
        issuer = self._key.public_key()
        extended = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        extended = extended.add_extension(_usage(sign=True), critical=True)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
        return extended.add_extension(identifier, critical=False).sign(self._key, SHA256())


def check_names(names: Sequence[str]) -> None:
    """Raise `PkiError` unless every one of `names` is a host name (RFC 1123) or an IP address, and there is one."""
    if not names:
        raise PkiError("the server certificate needs a name", "Name a host name or an IP address.")
    for name in names:
        if _address(name) is None and _HOST.fullmatch(name) is None:
            raise PkiError(f"{name!r} is neither a host name nor an IP address", "Name it in ASCII, without a port.")


def request_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a certificate request that it has signed itself; raises `RequestRefused`."""
    try:
        request = x509.load_der_x509_csr(csr)
        public = request.public_key()
        valid = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        raise RequestRefused("the certificate request cannot be read") from None
    if not valid or not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise RequestRefused("the certificate request is not one of a P-256 key, signed by itself")
    return public


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate (DER), hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def self_signed(key: ec.EllipticCurvePrivateKey, now: float, name: str = "Keyvigil authority") -> x509.Certificate:
    """A CA certificate for `key`, good for `CA_YEARS`."""
    begins = dt.datetime.fromtimestamp(now, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(_subject(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - BACKDATED)
        .not_valid_after(begins + dt.timedelta(days=365 * CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def _usage(*, sign: bool) -> x509.KeyUsage:
    """Digital signatures for leaves, certificates and revocation lists for the CA."""
    return x509.KeyUsage(
        digital_signature=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not sign,
        crl_sign=not sign,
        encipher_only=False,
        decipher_only=False,
    )


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    address = _address(name)
    return x509.DNSName(name) if address is None else x509.IPAddress(address)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def key_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    """PKCS #8 in PEM, unencrypted: it goes into a 0600 file and nowhere else."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_key(file: Path) -> object:
    try:
        return load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        raise PkiError(f"{file} cannot be used as a private key") from None


def _load_log_key(file: Path) -> Ed25519PrivateKey:
    key = _read_key(file)
    if not isinstance(key, Ed25519PrivateKey):
        raise PkiError(f"{file} holds another kind of key than Ed25519")
    return key


def _load_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = _read_key(file)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PkiError(f"{file} holds another kind of key than P-256")
    return key


def write_file(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Write beside the file and move it there; the mode holds from the first byte."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    beside.rename(file)
