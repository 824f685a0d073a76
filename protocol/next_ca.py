"""The CA that comes next: shown beforehand, and vouched for by the one that nodes trust now."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.codec import ProtocolViolation
from protocol.messages import NextCa

NEXT_CA_USAGE = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1.2")
"""Extended key usage of the certificate that vouches, under the number that RFC 5612 sets aside for documentation."""
_UNREADABLE = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound)


def vouched_ca(shown: NextCa, trusted: x509.Certificate) -> x509.Certificate:
    """The next CA's certificate, if `trusted` vouches for its key; raises `ProtocolViolation`.

    The voucher is a leaf for one purpose, not a CA: it lets the next key sign nothing in the present CA's name.
    """
    try:
        (following,) = x509.load_pem_x509_certificates(shown.certificate.encode())
        (voucher,) = x509.load_pem_x509_certificates(shown.voucher.encode())
        following.verify_directly_issued_by(following)
        voucher.verify_directly_issued_by(trusted)
        is_ca = following.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        usages = voucher.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except _UNREADABLE:
        raise ProtocolViolation("what is shown as the next CA does not hold") from None
    if not is_ca or [*usages] != [NEXT_CA_USAGE] or _key(following) != _key(voucher):
        raise ProtocolViolation("nobody vouches for what is shown as the next CA")
    return following


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
