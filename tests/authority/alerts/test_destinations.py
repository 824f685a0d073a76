"""Destinations as the configuration names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from authority.alerts.destinations import destinations
from authority.alerts.journald import JournaldSink
from authority.alerts.sinks import FileSink, TcpSink, UdpSink, UnixSink
from authority.alerts.tls_syslog import TlsSink
from authority.alerts.webhook import WebhookSink
from authority.config import (
    AlertDestination,
    AlertSinks,
    AuthorityConfig,
    ConfigError,
    Listener,
    Site,
    load_site,
    render,
)


def site(folder: Path, *found: AlertDestination, file: str = "", syslog: str = "") -> Site:
    plane = Listener("127.0.0.1", 1)
    config = AuthorityConfig(["ta"], plane, plane, alerts=AlertSinks(file, syslog, [*found]))
    return Site(folder, config)


def chosen(address: str, **options: object) -> AlertDestination:
    return AlertDestination(name="siem", address=address, **options)


@pytest.mark.parametrize(
    ("address", "options", "kind"),
    [
        ("unix:/dev/log", {}, UnixSink),
        ("udp:127.0.0.1:514", {}, UdpSink),
        ("tcp:[::1]:601", {}, TcpSink),
        ("file:/var/log/alerts", {}, FileSink),
        ("journald", {}, JournaldSink),
        ("tls:siem.example:6514", {"ca": "ca.pem", "certificate": "c.pem", "key": "k.pem"}, TlsSink),
        ("https://hooks.example/alerts", {"secret_file": "secret"}, WebhookSink),
        ("http://127.0.0.1:9000/alerts", {"secret_file": "secret"}, WebhookSink),
        ("http://[::1]/alerts", {"secret_file": "secret"}, WebhookSink),
    ],
)
def test_addresses(tmp_path: Path, address: str, options: dict, kind: type) -> None:
    (made,) = destinations(site(tmp_path, chosen(address, format="cef", severity="warning", **options)))
    assert isinstance(made.sink, kind)
    assert (made.name, made.form, made.least, made.backlog) == ("siem", "cef", "warning", None)


@pytest.mark.parametrize(
    ("address", "options", "cause"),
    [
        ("siem.example", {}, "no address"),
        ("unix:", {}, "no address"),
        ("udp:host", {}, "host and port"),
        ("tcp:host:70000", {}, "host and port"),
        ("tls:host:0", {"ca": "ca.pem"}, "host and port"),
        ("tls:host:6514", {}, "no ca"),
        ("tls:host:6514", {"ca": "a", "certificate": "c"}, "go together"),
        ("udp:host:514", {"ca": "a"}, "ca means nothing"),
        ("https://hooks.example/", {}, "secret_file"),
        ("http://hooks.example:80/", {"secret_file": "s"}, "plain HTTP"),
        ("http://127.0.0.1:80@hooks.example/", {"secret_file": "s"}, "plain HTTP"),
        ("https://hooks.example:x/", {"secret_file": "s"}, "no address"),
        ("https:///alerts", {"secret_file": "s"}, "no host"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, address: str, options: dict, cause: str) -> None:
    with pytest.raises(ConfigError, match=cause) as caught:
        destinations(site(tmp_path, chosen(address, **options)))
    assert caught.value.remedy


def test_names_are_good_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two alert destinations"):
        destinations(site(tmp_path, chosen("journald"), chosen("unix:/dev/log")))


def test_the_plain_ones_stay_beside_the_others(tmp_path: Path) -> None:
    found = destinations(site(tmp_path, chosen("journald"), file="alerts.log", syslog="unix:/dev/log"))
    assert [each.name for each in found] == [f"file:{tmp_path / 'alerts.log'}", "unix:/dev/log", "siem"]


def test_a_configuration_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    config = site(tmp_path, chosen("journald", durable=False, backlog=7)).config
    (tmp_path / "authority.toml").write_text(render(config))
    assert load_site(tmp_path).config == config
    (tmp_path / "authority.toml").write_text(render(config).replace('"rfc5424"', '"xml"'))
    with pytest.raises(ConfigError, match="xml"):
        load_site(tmp_path)
