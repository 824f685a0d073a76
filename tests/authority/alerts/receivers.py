"""Certificates for receivers and senders of alerts, and receivers that the tests start."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from authority.alerts.tls_syslog import TlsFiles

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass
class TestCa:
    """A certificate authority of one test."""

    __test__ = False
    folder: Path
    label: str

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.label)])
        builder = _builder(self.name, self.name, self.key.public_key())
        self.certificate = builder.add_extension(x509.BasicConstraints(True, None), True).sign(self.key, SHA256())
        self.pem = self._write("ca.pem", self.certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str) -> TlsFiles:
        """A certificate for a DNS name that is good on 127.0.0.1 too, with its key; `ca` is this authority's."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        builder = _builder(subject, self.name, key.public_key()).add_extension(names, False).add_extension(usage, False)
        made = builder.add_extension(x509.BasicConstraints(False, None), True).sign(self.key, SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files = self._write(f"{name}.pem", made.public_bytes(Encoding.PEM)), self._write(f"{name}.key", private)
        return TlsFiles(self.pem, *files, name)

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / f"{self.label}-{name}"
        path.write_bytes(data)
        return path


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=3650))
    )


class Hook:
    """An HTTPS server that keeps requests and answers with `status`."""

    def __init__(self, files: TlsFiles) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/alerts"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
