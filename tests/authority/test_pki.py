"""The authority's certificates: what they say, for whom they are good, and what is refused on disk."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, VerificationError
from cryptography.x509.verification import Store as Roots

from authority.pki import CertificateAuthority, PkiError, RequestRefused, check_names, request_key, thumbprint

NOW = 1_700_000_000.0
NODE_ID = "ab" * 32


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path / "ca", ["vigil.example", "192.0.2.7", "2001:db8::7"], NOW)


def request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """A certificate request that asks for more than it gets."""
    wish = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the authority")])
    names = x509.SubjectAlternativeName([x509.DNSName("vigil.example")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(wish).add_extension(names, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def issue(ca: CertificateAuthority, lifetime_s: float = 3600.0) -> x509.Certificate:
    return ca.issue_node(request(p256()), "n1", NODE_ID, NOW, lifetime_s)


def verifier(ca: CertificateAuthority, at: float) -> PolicyBuilder:
    return PolicyBuilder().store(Roots([ca.certificate])).time(dt.datetime.fromtimestamp(at, dt.UTC))


def test_a_node_certificate_chains_to_the_ca_while_it_lasts(ca: CertificateAuthority):
    leaf = issue(ca)
    assert verifier(ca, NOW).build_client_verifier().verify(leaf, []).chain
    with pytest.raises(VerificationError):
        verifier(ca, NOW + 3601).build_client_verifier().verify(leaf, [])


def test_another_authority_does_not_vouch_for_it(ca: CertificateAuthority, tmp_path: Path):
    other = CertificateAuthority.create(tmp_path / "other", ["vigil.example"], NOW)
    with pytest.raises(VerificationError):
        verifier(other, NOW).build_client_verifier().verify(issue(ca), [])


def test_the_request_gives_the_key_and_nothing_else(ca: CertificateAuthority):
    key = p256()
    leaf = ca.issue_node(request(key), "n1", NODE_ID, NOW, 60)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert leaf.public_key() == key.public_key()
    assert leaf.subject.rfc4514_string() == "CN=n1"
    assert [name.value for name in names] == [f"keyvigil://node/{NODE_ID}"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [*usage] == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_node_certificate_is_no_server_certificate(ca: CertificateAuthority):
    with pytest.raises(VerificationError):
        verifier(ca, NOW).build_server_verifier(x509.DNSName("vigil.example")).verify(issue(ca), [])


def test_the_server_certificate_is_good_for_every_name_given(ca: CertificateAuthority):
    leaf = x509.load_pem_x509_certificate(ca.server_certificate_file.read_bytes())
    for name in (
        x509.DNSName("vigil.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
    ):
        assert verifier(ca, NOW).build_server_verifier(name).verify(leaf, [])
    with pytest.raises(VerificationError):
        verifier(ca, NOW).build_server_verifier(x509.DNSName("other.example")).verify(leaf, [])
    with pytest.raises(VerificationError):
        verifier(ca, NOW).build_client_verifier().verify(leaf, [])
    key = load_pem_private_key(ca.server_key_file.read_bytes(), None)
    assert key.public_key() == leaf.public_key()


def test_a_renewed_server_certificate_has_another_key_under_the_same_ca(ca: CertificateAuthority):
    before = ca.server_certificate_file.read_bytes(), ca.server_key_file.read_bytes(), ca.ca_sha256
    ca.renew_server(["new.example"], NOW + 86400)
    leaf = x509.load_pem_x509_certificate(ca.server_certificate_file.read_bytes())
    assert verifier(ca, NOW + 86400).build_server_verifier(x509.DNSName("new.example")).verify(leaf, [])
    assert (ca.server_certificate_file.read_bytes(), ca.server_key_file.read_bytes()) != before[:2]
    assert ca.ca_sha256 == before[2]


def test_a_long_host_name_stands_in_the_certificate_whole(tmp_path: Path):
    name = ".".join(["a" * 60] * 4)
    ca = CertificateAuthority.create(tmp_path / "ca", [name], NOW)
    leaf = x509.load_pem_x509_certificate(ca.server_certificate_file.read_bytes())
    assert verifier(ca, NOW).build_server_verifier(x509.DNSName(name)).verify(leaf, [])


def test_what_was_made_is_loaded_again(ca: CertificateAuthority):
    again = CertificateAuthority.load(ca.folder)
    assert (again.ca_sha256, again.kos_public, again.certificate_pem) == (
        ca.ca_sha256,
        ca.kos_public,
        ca.certificate_pem,
    )
    assert issue(again).verify_directly_issued_by(ca.certificate) is None


@pytest.mark.parametrize("umask", [0, 0o022])
def test_keys_are_the_owners_alone_and_never_another_file_s_remains(tmp_path: Path, umask: int):
    before = os.umask(umask)
    try:
        folder = CertificateAuthority.create(tmp_path / "ca", ["localhost"], NOW).folder
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert {modes[name] for name in ("approval.key", "ca.key", "kos.key", "server.key")} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {*modes} == {"approval.key", "ca.key", "ca.pem", "kos.key", "server.key", "server.pem"}


def test_keys_are_in_no_text_about_the_authority(ca: CertificateAuthority):
    assert "PrivateKey" not in repr(ca)
    assert str(ca.folder) in repr(ca)


@pytest.mark.parametrize(
    "names",
    [[], [""], ["bad name"], ["host:8443"], ["münchen.example"], ["a..b"], ["-a.example"], ["a" * 64], ["a.b."]],
)
def test_a_name_that_cannot_stand_in_a_certificate_is_refused_before_anything_is_made(tmp_path: Path, names: list[str]):
    with pytest.raises(PkiError) as caught:
        CertificateAuthority.create(tmp_path / "ca", ["good.example", *names] if names else [], NOW)
    assert caught.value.remedy
    assert not (tmp_path / "ca").exists()
    check_names(["good.example", "localhost", "10.0.0.1", "::1"])


def test_existing_keys_are_not_written_over(ca: CertificateAuthority):
    before = (ca.folder / "ca.key").read_bytes()
    with pytest.raises(PkiError, match="cannot make"):
        CertificateAuthority.create(ca.folder, ["localhost"], NOW)
    assert (ca.folder / "ca.key").read_bytes() == before


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


DAMAGE = {
    "missing": None,
    "empty": b"",
    "garbage": b"-----BEGIN PRIVATE KEY-----\nxxxx\n-----END PRIVATE KEY-----\n",
    "RSA": pem(rsa.generate_private_key(65537, 2048)),
    "another curve": pem(ec.generate_private_key(ec.SECP384R1())),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["ca.key", "kos.key", "ca.pem"])
def test_a_damaged_file_is_named(ca: CertificateAuthority, name: str, damage: str):
    content = DAMAGE[damage]
    (ca.folder / name).unlink() if content is None else (ca.folder / name).write_bytes(content)
    with pytest.raises(PkiError, match=name) as caught:
        CertificateAuthority.load(ca.folder)
    assert "backup" in caught.value.remedy


def test_a_key_of_another_authority_is_found_out(ca: CertificateAuthority):
    (ca.folder / "ca.key").write_bytes(pem(p256()))
    with pytest.raises(PkiError, match="does not belong"):
        CertificateAuthority.load(ca.folder)


def tampered(csr: bytes) -> bytes:
    return csr.replace(b"the authority", b"the authoritx")


@pytest.mark.parametrize(
    "csr",
    [
        b"",
        b"garbage",
        request(rsa.generate_private_key(65537, 2048)),
        request(ed25519.Ed25519PrivateKey.generate()),
        request(ec.generate_private_key(ec.SECP384R1())),
        request(ec.generate_private_key(ec.SECP256K1())),
        tampered(request(p256())),
        request(p256())[:-1],
        request(p256()) + b"\0",
    ],
    ids=["empty", "garbage", "RSA", "Ed25519", "P-384", "secp256k1", "changed", "cut off", "too long"],
)
def test_a_request_that_no_p256_key_signed_is_refused(ca: CertificateAuthority, csr: bytes):
    with pytest.raises(RequestRefused):
        ca.issue_node(csr, "n1", NODE_ID, NOW, 60)
    assert request_key(request(p256()))


def test_a_thumbprint_tells_certificates_apart(ca: CertificateAuthority):
    one, two = issue(ca), issue(ca)
    assert thumbprint(one) != thumbprint(two)
    assert one.serial_number != two.serial_number
    assert thumbprint(one) == one.fingerprint(SHA256()).hex()


def test_the_server_certificate_is_renewed_in_its_last_month_and_not_before(ca: CertificateAuthority):
    before = ca.server_certificate_file.read_bytes()
    assert not ca.renew_server_if_due(["localhost"], NOW + 300 * 86400)
    assert ca.server_certificate_file.read_bytes() == before
    assert ca.renew_server_if_due(["localhost"], NOW + 340 * 86400)
    renewed = x509.load_pem_x509_certificate(ca.server_certificate_file.read_bytes())
    assert renewed.not_valid_after_utc.timestamp() > NOW + 700 * 86400
