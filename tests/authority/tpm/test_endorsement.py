"""Endorsement certificates: each refusal beside the chain that is accepted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from authority.tpm import EndorsementRejected, Reason, load_roots, node_id, verify_endorsement
from tests.authority.tpm import forge

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EK_USAGE = x509.ObjectIdentifier("2.23.133.8.1")
TPM_MAKER = x509.Name(
    [
        x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:414D4400"),
        x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.2"), "TPM Model"),
        x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.3"), "id:00010002"),
    ]
)
EK_KEY = rsa.generate_private_key(65537, 2048)
EK_PUBLIC = forge.rsa_public(EK_KEY, forge.EK)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass
class Maker:
    """A certificate authority of a TPM maker, and how far its certificates reach."""

    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def root(cls, name: str, until: datetime = NOW + timedelta(days=900)) -> Maker:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(name, key, sign(common_name(name), key.public_key(), common_name(name), key, until=until, ca=True))

    def issuer(self, name: str, *, ca: bool = True, **fields: object) -> Maker:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = sign(common_name(name), key.public_key(), common_name(self.name), self.key, ca=ca, **fields)
        return Maker(name, key, certificate)

    def endorse(self, key=None, **fields: object) -> bytes:
        public = (key or EK_KEY).public_key()
        fields = {"subject": x509.Name([]), "usages": [EK_USAGE], "names": TPM_MAKER, **fields}
        certificate = sign(fields.pop("subject"), public, common_name(self.name), self.key, **fields)
        return certificate.public_bytes(Encoding.DER)


def sign(subject, public, issuer, key, *, since=None, until=None, ca=False, usages=(), names=None) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(since or NOW - timedelta(days=300))
        .not_valid_after(until or NOW + timedelta(days=300))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DirectoryName(names)]), critical=True)
    return builder.sign(key, hashes.SHA256())


ROOT = Maker.root("maker root")
ISSUER = ROOT.issuer("maker issuer")
CHAIN = (ISSUER.endorse(), ISSUER.certificate.public_bytes(Encoding.DER))


def check(ek_public=EK_PUBLIC, certificates=CHAIN, roots=(ROOT.certificate,), now=NOW):
    return verify_endorsement(ek_public, certificates, roots, now)


def refused(**changes: object) -> Reason:
    with pytest.raises(EndorsementRejected) as caught:
        check(**changes)
    return caught.value.reason


def test_an_endorsed_tpm_has_the_identity_of_its_key():
    identity = check()
    spki = EK_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert identity.node_id == hashlib.sha256(spki).hexdigest() == node_id(EK_PUBLIC)
    assert (identity.manufacturer, identity.model, identity.version) == ("id:414D4400", "TPM Model", "id:00010002")
    assert identity.issuer == "CN=maker issuer"
    assert identity.not_after == NOW + timedelta(days=300)


def test_the_issuer_may_be_configured_instead_of_sent():
    pem = b"".join(maker.certificate.public_bytes(Encoding.PEM) for maker in (ROOT, ISSUER))
    assert check(certificates=CHAIN[:1], roots=load_roots(pem)).node_id == node_id(EK_PUBLIC)
    assert refused(certificates=CHAIN[:1]) is Reason.UNKNOWN_ROOT


def test_a_certificate_without_alternative_name_is_accepted_with_nothing_known_of_the_maker():
    identity = check(certificates=(ROOT.endorse(names=None, subject=common_name("ek")),))
    assert (identity.manufacturer, identity.subject) == ("", "CN=ek")


def test_an_ecc_p384_endorsement_key_is_accepted():
    key = ec.generate_private_key(ec.SECP384R1())
    public = forge.ecc_public(
        key, forge.EK, scheme=(forge.NULL,), name_algorithm=forge.SHA384, symmetric=(forge.AES, 256, forge.CFB)
    )
    assert check(public, (ROOT.endorse(key),)).node_id == node_id(public)


def test_another_root_is_refused():
    assert refused(roots=(Maker.root("maker root").certificate,)) is Reason.UNKNOWN_ROOT
    assert refused(roots=()) is Reason.UNKNOWN_ROOT


def test_an_expired_root_vouches_for_nobody():
    old = Maker.root("old", until=NOW - timedelta(days=1))
    assert refused(certificates=(old.endorse(),), roots=(old.certificate,)) is Reason.UNKNOWN_ROOT
    young = Maker.root("young")
    assert check(certificates=(young.endorse(),), roots=(young.certificate,))


def test_an_expired_issuer_breaks_the_chain():
    old = ROOT.issuer("old issuer", until=NOW - timedelta(days=1))
    chain = (old.endorse(), old.certificate.public_bytes(Encoding.DER))
    assert refused(certificates=chain) is Reason.UNKNOWN_ROOT
    assert check(certificates=chain, now=NOW - timedelta(days=2))


@pytest.mark.parametrize("days", [-301, 301])
def test_a_certificate_outside_its_validity_is_refused(days):
    assert refused(now=NOW + timedelta(days=days)) is Reason.NOT_VALID_NOW


def test_a_certificate_of_another_key_is_refused():
    other = ISSUER.endorse(rsa.generate_private_key(65537, 2048))
    assert refused(certificates=(other, CHAIN[1])) is Reason.OTHER_KEY


def test_a_tpm_without_certificate_is_refused():
    assert refused(certificates=()) is Reason.NO_CERTIFICATE


@pytest.mark.parametrize("usages", [(), (ExtendedKeyUsageOID.CLIENT_AUTH,), (x509.ObjectIdentifier("2.23.133.8.3"),)])
def test_a_certificate_for_another_usage_is_refused(usages):
    assert refused(certificates=(ISSUER.endorse(usages=usages), CHAIN[1])) is Reason.NOT_AN_ENDORSEMENT


def test_an_authority_s_certificate_is_no_endorsement():
    assert refused(certificates=(ISSUER.endorse(ca=True), CHAIN[1])) is Reason.NOT_AN_ENDORSEMENT


def test_a_certificate_that_a_mere_leaf_signed_is_refused():
    leaf = ROOT.issuer("leaf", ca=False)
    chain = (leaf.endorse(), leaf.certificate.public_bytes(Encoding.DER))
    assert refused(certificates=chain) is Reason.UNKNOWN_ROOT


@pytest.mark.parametrize("bit", [forge.FIXED_TPM, forge.FIXED_PARENT, forge.ORIGIN, forge.RESTRICTED, forge.DECRYPT])
def test_a_key_that_lacks_an_attribute_is_no_endorsement_key(bit):
    assert refused(ek_public=forge.rsa_public(EK_KEY, forge.EK & ~bit)) is Reason.NOT_AN_ENDORSEMENT


def test_a_key_that_signs_is_no_endorsement_key():
    assert refused(ek_public=forge.rsa_public(EK_KEY, forge.EK | forge.SIGN)) is Reason.NOT_AN_ENDORSEMENT


@pytest.mark.parametrize("certificates", [(b"",), (b"garbage",), (CHAIN[0][:-1],), (CHAIN[0] + b"\0",), CHAIN * 20])
def test_malformed_certificates_are_refused(certificates):
    assert refused(certificates=certificates) is Reason.MALFORMED


def test_a_changed_certificate_is_refused():
    leaf = bytearray(CHAIN[0])
    leaf[-1] ^= 1
    assert refused(certificates=(bytes(leaf), CHAIN[1])) is Reason.UNKNOWN_ROOT


def test_every_truncated_public_area_is_refused():
    for length in range(len(EK_PUBLIC)):
        assert refused(ek_public=EK_PUBLIC[:length]) is Reason.MALFORMED


NAMES = TPM_MAKER.public_bytes()
BROKEN = {
    "version": (bytes.fromhex("a003020102"), bytes.fromhex("a00302010a")),
    "key type": (bytes.fromhex("06092a864886f70d010101"), bytes.fromhex("06092a864886f70d010f01")),
    "general name": (b"\xa4" + bytes([len(NAMES)]) + NAMES, b"\xa3" + bytes([len(NAMES)]) + NAMES),
    "attribute": (b"\x0c\x09TPM Model", b"\x03\x09TPM Model"),
}


@pytest.mark.parametrize("part", BROKEN)
def test_a_certificate_that_the_library_cannot_read_is_refused_and_nothing_else(part):
    """Each of them once came out as an error of the X.509 library itself."""
    root = Maker.root("root")
    der = root.endorse()
    right, wrong = BROKEN[part]
    assert der.count(right) >= 1, der.hex()
    for chain in ([der.replace(right, wrong)], [der, der.replace(right, wrong)]):
        try:
            verify_endorsement(EK_PUBLIC, chain, [root.certificate], NOW)
        except EndorsementRejected as refused:
            assert refused.reason in {Reason.MALFORMED, Reason.OTHER_KEY, Reason.NOT_AN_ENDORSEMENT}
        else:
            assert chain[0] == der, "accepted though it cannot be read"
