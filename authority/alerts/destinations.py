"""The receivers that the configuration names: what goes to each, in which form, and what a full one gives up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from authority.alerts.formats import AlertFormat, written
from authority.alerts.journald import JournaldSink
from authority.alerts.rfc5424 import Origin, Record, Severity
from authority.alerts.sinks import AlertSink, FileSink, TcpSink, UdpSink, UnixSink
from authority.alerts.tls_syslog import TlsFiles, TlsSink
from authority.alerts.webhook import WebhookSink
from authority.config import AlertDestination, ConfigError, ResultSubscriber, Site

_FORMS = "unix:PATH, udp:HOST:PORT, tcp:HOST:PORT, tls:HOST:PORT, file:PATH, journald, or an https URL"
_FILES = {"ca", "certificate", "key", "server_name", "secret_file"}
_TAKES = {"tls": {"ca", "certificate", "key", "server_name"}, "https": {"ca", "secret_file"}, "http": {"secret_file"}}
_LOCAL = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Destination:
    """One receiver: a sink of its own, a form, and the alerts that it wants. `backlog` is none where all are kept."""

    name: str
    sink: AlertSink
    form: AlertFormat = AlertFormat.RFC5424
    least: Severity = Severity.INFO
    backlog: int | None = None
    syslog: bool = True

    def wants(self, severity: Severity) -> bool:
        """Whether alerts of this severity go there."""
        return severity.code <= self.least.code

    def write(self, record: Record, origin: Origin) -> bytes:
        """The record in this destination's form."""
        return written(self.form, record, origin, syslog=self.syslog)


def destinations(site: Site) -> list[Destination]:
    """All of them, each with a sink of its own that holds nothing open yet; raises `ConfigError`."""
    found = []
    if site.config.alerts.file:
        sink: AlertSink = FileSink(site.path(site.config.alerts.file))
        found.append(Destination(sink.name, sink))
    if site.config.alerts.syslog:
        sink = _plain_sink(site.config.alerts.syslog, "[alerts] syslog")
        found.append(Destination(sink.name, sink))
    found += [_destination(site, each) for each in site.config.alerts.destinations]
    names = [each.name for each in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two alert destinations are named {twice[0]!r}", "Give each a name of its own.")
    return found


def named(found: Sequence[Destination], name: str) -> Destination | None:
    """The destination of this name."""
    return next((each for each in found if each.name == name), None)


def _destination(site: Site, chosen: AlertDestination) -> Destination:
    kind = chosen.address.partition(":")[0]
    return Destination(
        name=chosen.name,
        sink=_sink(site, chosen, kind),
        form=AlertFormat(chosen.format),
        least=Severity(chosen.severity),
        backlog=None if chosen.durable else chosen.backlog,
        syslog=kind not in {"file", "https", "http"},
    )


def _sink(site: Site, chosen: AlertDestination, kind: str) -> AlertSink:
    where = f"alert destination {chosen.name}"
    for option in sorted(_FILES - _TAKES.get(kind, set())):
        if getattr(chosen, option):
            raise ConfigError(f"{where}: {option} means nothing for {chosen.address}", "Remove it.")
    match kind:
        case "tls":
            return _tls(site, chosen, where)
        case "https" | "http":
            return webhook_sink(site, chosen, where)
        case "journald":
            return JournaldSink(timeout_s=chosen.timeout_s)
        case _:
            return _plain_sink(chosen.address, where, chosen.timeout_s)


def _tls(site: Site, chosen: AlertDestination, where: str) -> TlsSink:
    host, port = _place(chosen.address.partition(":")[2], where)
    if not chosen.ca:
        raise ConfigError(f"{where}: no ca", "Name the PEM file that the receiver's certificate chains to.")
    if bool(chosen.certificate) != bool(chosen.key):
        raise ConfigError(f"{where}: certificate and key go together", "Name both, or neither.")
    files = TlsFiles(
        site.path(chosen.ca),
        site.path(chosen.certificate) if chosen.certificate else None,
        site.path(chosen.key) if chosen.key else None,
        chosen.server_name,
    )
    return TlsSink(host, port, files, chosen.timeout_s)


def webhook_sink(site: Site, chosen: AlertDestination | ResultSubscriber, where: str) -> WebhookSink:
    """A sink that posts to `chosen.address`; raises `ConfigError`, in which the place is called `where`."""
    try:
        url = httpx.URL(chosen.address)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{where}: {chosen.address!r} is no address: {error}", f"Write {_FORMS}.") from None
    if url.scheme not in {"https", "http"}:
        raise ConfigError(f"{where}: {chosen.address!r} is no web address", "Write https:.")
    if not url.host:
        raise ConfigError(f"{where}: {chosen.address!r} names no host", f"Write {_FORMS}.")
    if url.scheme == "http" and url.host not in _LOCAL:
        raise ConfigError(f"{where}: nothing goes over plain HTTP to another machine", "Write https:.")
    if not chosen.secret_file:
        raise ConfigError(f"{where}: no secret_file", "Name a 0600 file with whsec_ and base64 of 24 random bytes.")
    ca = site.path(chosen.ca) if chosen.ca else None
    return WebhookSink(chosen.address, site.path(chosen.secret_file), ca=ca, timeout_s=chosen.timeout_s)


def _plain_sink(address: str, where: str, timeout_s: float = 5.0) -> AlertSink:
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        return UnixSink(rest, timeout_s)
    if kind == "file" and rest:
        return FileSink(Path(rest))
    if kind in {"udp", "tcp"}:
        host, port = _place(rest, where)
        return UdpSink(host, port) if kind == "udp" else TcpSink(host, port, timeout_s)
    raise ConfigError(f"{where}: {address!r} is no address", f"Write {_FORMS}.")


def _place(text: str, where: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if host and port.isdecimal() and 0 < int(port) < 65536:
        return host, int(port)
    raise ConfigError(f"{where}: {text!r} is no host and port", f"Write {_FORMS}.")
