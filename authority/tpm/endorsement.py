"""Endorsement: does this key belong to a TPM of a maker that the operator trusts?

TCG EK Credential Profile for TPM Family 2.0, 2.5: extended key usage 2.23.133.8.1 (3.2.14), maker, model and version in
the subject alternative name (3.2.9), attributes of the key (B.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from authority.tpm._signed import check_attributes
from authority.tpm.keys import node_id, public_key
from authority.tpm.rejection import EndorsementRejected, Reason, TpmRejected, rejecting
from authority.tpm.wire import ObjectAttributes, parse_public

EK_CERTIFICATE_USAGE = x509.ObjectIdentifier("2.23.133.8.1")
MAX_CERTIFICATES = 16

_A = ObjectAttributes
_MUST = _A.FIXED_TPM | _A.FIXED_PARENT | _A.SENSITIVE_DATA_ORIGIN | _A.RESTRICTED | _A.DECRYPT
_MUST_NOT = _A.SIGN | _A.ENCRYPTED_DUPLICATION
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for certificates that are none, at the first look into the part that is broken."""
_MAKER, _MODEL, _VERSION = (x509.ObjectIdentifier(f"2.23.133.2.{last}") for last in (1, 2, 3))


@dataclass(frozen=True)
class EkIdentity:
    """A TPM that the operator's roots vouch for.

    `node_id` is the SHA-256 of the EK's SubjectPublicKeyInfo in hexadecimal, `subject` and `issuer` are RFC 4514 names;
    maker, model and version are as the certificate has them (`id:00001014`), empty when it has none.
    """

    node_id: str
    subject: str
    issuer: str
    serial: int
    not_after: datetime
    manufacturer: str
    model: str
    version: str


def load_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in a PEM file of TPM makers' authorities; raises `ValueError` for anything else."""
    return tuple(x509.load_pem_x509_certificates(pem))


def verify_endorsement(
    ek_public: bytes, certificates: Sequence[bytes], roots: Sequence[x509.Certificate], now: datetime
) -> EkIdentity:
    """Check the EK (TPM2B_PUBLIC) against its certificate, and that against `roots`, at the aware time `now`.

    `certificates` are DER, the EK's own first, then issuers in any order. Every certificate in `roots` is an anchor by
    itself, an intermediate too. Raises `EndorsementRejected`.
    """
    with rejecting(EndorsementRejected):
        check_attributes(parse_public(ek_public), _MUST, _MUST_NOT, Reason.NOT_AN_ENDORSEMENT)
        leaf, issuers = _load(certificates)
        _check_key(ek_public, leaf)
        _check_usage(leaf)
        if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
            raise TpmRejected(Reason.NOT_VALID_NOW, f"the certificate is valid until {leaf.not_valid_after_utc:%F}")
        _check_chain(leaf, issuers, roots, now)
        try:
            return _identity(node_id(ek_public), leaf)
        except _UNREADABLE as error:
            raise TpmRejected(Reason.MALFORMED, "the names in the certificate cannot be read") from error


def _load(certificates: Sequence[bytes]) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if not certificates:
        raise TpmRejected(Reason.NO_CERTIFICATE, "the TPM holds no certificate for its endorsement key")
    if len(certificates) > MAX_CERTIFICATES:
        raise TpmRejected(Reason.MALFORMED, f"{len(certificates)} certificates")
    try:
        leaf, *issuers = (x509.load_der_x509_certificate(der) for der in certificates)
    except _UNREADABLE as error:
        raise TpmRejected(Reason.MALFORMED, "not a certificate") from error
    return leaf, issuers


def _check_key(ek_public: bytes, leaf: x509.Certificate) -> None:
    ek = public_key(ek_public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        certified = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except _UNREADABLE as error:
        raise TpmRejected(Reason.MALFORMED, "the certificate's key cannot be read") from error
    if certified != ek:
        raise TpmRejected(Reason.OTHER_KEY, "the certificate is for another key")


def _check_usage(leaf: x509.Certificate) -> None:
    """The verifier below is told to accept every extension, so what matters is checked here."""
    try:
        extensions = leaf.extensions
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise TpmRejected(Reason.NOT_AN_ENDORSEMENT, "the certificate names no extended key usage") from None
    except _UNREADABLE as error:
        raise TpmRejected(Reason.MALFORMED, "the certificate's extensions cannot be read") from error
    if EK_CERTIFICATE_USAGE not in usages:
        raise TpmRejected(Reason.NOT_AN_ENDORSEMENT, "the certificate is not one of an endorsement key")
    for extension in extensions:
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            raise TpmRejected(Reason.NOT_AN_ENDORSEMENT, "the certificate is one of an authority")


def _check_chain(
    leaf: x509.Certificate, issuers: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime
) -> None:
    """RFC 5280 path validation; the profile's own extensions would otherwise be refused as those of no web client."""
    anchors = [root for root in roots if root.not_valid_before_utc <= now <= root.not_valid_after_utc]
    if not anchors:
        raise TpmRejected(Reason.UNKNOWN_ROOT, "no TPM maker's root certificate that is valid now is configured")
    everything = ExtensionPolicy.permit_all()
    authorities = everything.require_present(
        x509.BasicConstraints, Criticality.AGNOSTIC, _must_be_authority
    ).may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _must_sign_certificates)
    verifier = (
        PolicyBuilder()
        .store(Store(anchors))
        .time(now.astimezone(UTC))
        .extension_policies(ca_policy=authorities, ee_policy=everything)
        .build_client_verifier()
    )
    try:
        verifier.verify(leaf, list(issuers))
    except VerificationError as error:
        raise TpmRejected(Reason.UNKNOWN_ROOT, "no valid chain to a configured root certificate") from error


def _must_be_authority(_policy: Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("an issuer that is no authority")


def _must_sign_certificates(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer that may not sign certificates")


def _identity(node: str, leaf: x509.Certificate) -> EkIdentity:
    manufacturer, model, version = _model(leaf)
    return EkIdentity(
        node_id=node,
        subject=leaf.subject.rfc4514_string(),
        issuer=leaf.issuer.rfc4514_string(),
        serial=leaf.serial_number,
        not_after=leaf.not_valid_after_utc,
        manufacturer=manufacturer,
        model=model,
        version=version,
    )


def _model(leaf: x509.Certificate) -> tuple[str, str, str]:
    """Maker, model and version from the directory name in the subject alternative name."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "", "", ""
    directories = names.get_values_for_type(x509.DirectoryName)
    found = {attribute.oid: str(attribute.value) for directory in directories for attribute in directory}
    manufacturer, model, version = (found.get(oid, "") for oid in (_MAKER, _MODEL, _VERSION))
    return manufacturer, model, version
