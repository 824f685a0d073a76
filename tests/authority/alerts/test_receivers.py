"""Syslog over TLS into real daemons, webhooks over HTTPS, and the journal's protocol."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from authority.alerts import Origin, Record, Severity, SinkError, format_record
from authority.alerts.journald import JournaldSink
from authority.alerts.tls_syslog import TlsSink
from authority.alerts.webhook import WebhookSink
from simulators.lab.ports import free_port
from tests.authority.alerts.receivers import Hook, TestCa

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
RECORD = format_record(Record(1.0, Severity.ERROR, "tier-low", 'low "tier" ]\\ line\nfeed', {"id": 1}), Origin("ta1"))

RSYSLOG = """\
global(workDirectory="{folder}" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{server.ca}" defaultNetstreamDriverCertFile="{server.certificate}"
  defaultNetstreamDriverKeyFile="{server.key}" maxMessageSize="64k")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/name"
  PermittedPeer=["authority.example"])
template(name="raw" type="string" string="%rawmsg-after-pri%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
*.* action(type="omfile" file="{folder}/got.log" template="raw")
"""
SYSLOG_NG = """\
@version: 3.38
source tls {{ syslog(ip(127.0.0.1) port({port}) transport("tls")
  tls(cert-file("{server.certificate}") key-file("{server.key}") ca-file("{server.ca}")
      peer-verify(required-trusted) trusted-dn("CN=authority.example"))); }};
destination file {{ file("{folder}/got.log" template("$RAWMSG$MSGHDR$MSG $SDATA\\n")); }};
log {{ source(tls); destination(file); }};
"""


@contextmanager
def daemon(kind: str, folder: Path, ca: TestCa) -> Iterator[tuple[int, Path]]:
    """A syslog daemon that asks for a certificate of `ca` for authority.example; its port, and what it got."""
    server, port = ca.issue("siem.example"), free_port()
    template = {"rsyslogd": RSYSLOG, "syslog-ng": SYSLOG_NG}[kind]
    config = folder / f"{kind}.conf"
    config.write_text(template.format(folder=folder, server=server, port=port))
    argv = {
        "rsyslogd": ["rsyslogd", "-n", "-f", str(config), "-i", str(folder / "pid")],
        "syslog-ng": ["syslog-ng", "-F", "--no-caps", "-f", str(config), "-R", str(folder / "persist"),
                      "-c", str(folder / "ctl"), "-p", str(folder / "pid")],
    }[kind]  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            until(lambda: _listens(port), "the daemon to listen", process)
            yield port, folder / "got.log"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


def until(happened: Callable[[], bool], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    limit = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        assert process is None or process.poll() is None, f"{what}: the process ended"
        time.sleep(0.02)


def found(*names: str) -> list[object]:
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return [
        pytest.param(name, marks=pytest.mark.skipif(shutil.which(name, path=path) is None, reason=f"needs {name}"))
        for name in names
    ]


@pytest.mark.parametrize("kind", found("rsyslogd", "syslog-ng"))
def test_a_daemon_takes_records_of_the_right_sender_and_of_no_other(kind: str, tmp_path: Path) -> None:
    ca, other = TestCa(tmp_path, "ours"), TestCa(tmp_path / "other", "theirs")
    with daemon(kind, tmp_path, ca) as (port, got):
        ours = replace(ca.issue("authority.example"), name="siem.example")
        sink = TlsSink("127.0.0.1", port, ours, settle_s=1.0)
        sink.send(RECORD)
        sink.send(RECORD.replace(b"tier-low", b"tier-two"))
        until(lambda: got.exists() and len(got.read_bytes().splitlines()) == 2, "two records")
        text = got.read_text()
        assert 'low "tier" ]\\ line\u240afeed' in text
        assert "keyvigil@32473" in text
        sink.close()
        strangers = {
            "nobody": replace(ours, certificate=None, key=None),
            "another CA": replace(other.issue("authority.example"), ca=ca.pem, name="siem.example"),
            "another name": replace(ca.issue("intruder.example"), name="siem.example"),
        }
        for who, files in strangers.items():
            refused = TlsSink("127.0.0.1", port, files, settle_s=2.0)
            with pytest.raises(SinkError):
                refused.send(RECORD.replace(b"tier-low", b"intruder"))
                raise AssertionError(f"{who} was let in")
        for files, cause in (
            (replace(ours, ca=other.pem), "certificate"),
            (replace(ours, name="elsewhere"), "certificate"),
        ):
            with pytest.raises(SinkError, match=cause):
                TlsSink("127.0.0.1", port, files).send(RECORD)
        sink.send(RECORD)
        until(lambda: len(got.read_bytes().splitlines()) == 3, "the third record")
        assert "intruder" not in got.read_text()
        sink.close()


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    ca = TestCa(tmp_path, "ours")
    with pytest.raises(SinkError, match="cannot be read"):
        TlsSink("127.0.0.1", 1, replace(ca.issue("a.example"), ca=tmp_path / "none")).send(RECORD)


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[tuple[Hook, TestCa]]:
    ca = TestCa(tmp_path, "ours")
    made = Hook(ca.issue("hook.example"))
    try:
        yield made, ca
    finally:
        made.close()


def secret(tmp_path: Path, text: str = SECRET, mode: int = 0o600) -> Path:
    path = tmp_path / "secret"
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def test_a_webhook_is_signed_as_the_standard_s_own_library_wants_it(tmp_path: Path, hook) -> None:
    server, ca = hook
    sink = WebhookSink(server.url, secret(tmp_path), ca=ca.pem)
    body = b'{"message": "low"}'
    sink.send(body, "alert-7")
    sink.send(body, "alert-7")
    (headers, got), (again, _) = server.got
    assert headers["webhook-id"] == again["webhook-id"] == "alert-7"
    assert Webhook(SECRET).verify(got, headers) == {"message": "low"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got + b" ", headers)
    sink.close()


def test_a_webhook_that_is_refused_is_tried_again_later(tmp_path: Path, hook) -> None:
    server, ca = hook
    sink = WebhookSink(server.url, secret(tmp_path), ca=ca.pem)
    for status in (500, 302, 404):
        server.status = status
        with pytest.raises(SinkError, match=str(status)):
            sink.send(b"{}", "alert-1")
    with pytest.raises(SinkError, match="certificate"):
        WebhookSink(server.url, secret(tmp_path), timeout_s=3).send(b"{}", "alert-1")


@pytest.mark.parametrize(
    ("text", "mode", "cause"),
    [(SECRET, 0o644, "open to others"), ("whsec_AAAA", 0o600, "24 to 64"), (SECRET[6:], 0o600, "whsec_")],
)
def test_a_bad_secret_is_refused_and_not_told(tmp_path: Path, text: str, mode: int, cause: str) -> None:
    with pytest.raises(SinkError, match=cause) as caught:
        WebhookSink("https://127.0.0.1:1/", secret(tmp_path, text, mode)).send(b"{}", "alert-1")
    assert text not in str(caught.value)


def test_the_journal_gets_one_entry_whatever_the_record_holds(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        sink = JournaldSink(str(tmp_path / "journal"))
        sink.send(RECORD + b"\nPRIORITY=0\n", "alert-3")
        fields = journal_fields(journal.recv(65536))
    assert fields["MESSAGE"] == RECORD + b"\nPRIORITY=0\n"
    assert fields["PRIORITY"] == b"3"
    assert fields["KEYVIGIL_ALERT"] == b"alert-3"
    with pytest.raises(SinkError, match="journald"):
        JournaldSink(str(tmp_path / "nobody")).send(RECORD)


def journal_fields(data: bytes) -> dict[str, bytes]:
    """A reader of the native protocol: NAME=VALUE lines, or a name, 8 bytes of length, the value."""
    fields = {}
    while data:
        line, _, rest = data.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            size = int.from_bytes(rest[:8], "little")
            name, value, rest = line, rest[8 : 8 + size], rest[9 + size :]
        fields[name.decode()], data = value, rest
    return fields
