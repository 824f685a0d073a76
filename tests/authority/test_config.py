"""The authority's configuration: read back as it was written, and refused with the setting that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from authority.config import (
    CONFIG_NAME,
    AlertSinks,
    AuthorityConfig,
    ConfigError,
    Endorsement,
    Listener,
    Site,
    load_site,
    render,
)

GOOD = AuthorityConfig(
    names=["vigil.example", "192.0.2.7"],
    node_plane=Listener("0.0.0.0", 8443),
    operator_plane=Listener("127.0.0.1", 8444),
    endorsement=Endorsement(["ek-roots-1.pem"], ["lab-roots-1.pem"]),
    alerts=AlertSinks("alerts.log", "udp:192.0.2.9:514"),
)
ODD = AuthorityConfig(
    names=['quote"d', "back\\slash", "line\nbreak", "tab\t", "delete\x7f", "bell\x07", "münchen"],
    node_plane=Listener('h"ost', 1),
    operator_plane=Listener("::", 65535),
    policy='p"olicy.toml',
    database="data base#.db",
    endorsement=Endorsement(['a"b'], []),
    alerts=AlertSinks("", 'unix:/run/"log"'),
)


def written(folder: Path, text: str) -> Path:
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("config", [GOOD, ODD], ids=["good", "odd"])
def test_what_is_written_is_read_back(tmp_path: Path, config: AuthorityConfig):
    assert load_site(written(tmp_path, render(config))).config == config


def test_paths_are_taken_from_the_state_folder(tmp_path: Path):
    site = Site(tmp_path, GOOD)
    assert site.path("a.db") == tmp_path / "a.db"
    assert site.path("/etc/policy.toml") == Path("/etc/policy.toml")
    assert (site.operator_token, site.ca_certificate) == (tmp_path / "operator.token", tmp_path / "ca" / "ca.pem")


WRONG = {
    "unknown key": ("colour = 1\n" + render(GOOD), "colour"),
    "unknown key of a table": (render(GOOD) + "colour = 1\n", "colour"),
    "missing table": (render(GOOD).replace("[node_plane]", "[alerts2]"), "alerts2|node_plane"),
    "port out of range": (render(GOOD).replace("8443", "65536"), r"node_plane\.port"),
    "port zero": (render(GOOD).replace("8444", "0"), r"operator_plane\.port"),
    "port as text": (render(GOOD).replace("8443", '"8443"'), r"node_plane\.port"),
    "no name": (render(GOOD).replace('["vigil.example","192.0.2.7"]', "[]"), "names"),
    "empty name": (render(GOOD).replace("192.0.2.7", ""), "names"),
    "empty host": (render(GOOD).replace("127.0.0.1", ""), r"operator_plane\.host"),
    "no TOML": ("names = [", "Invalid value"),
    "nothing": ("", "names"),
}


@pytest.mark.parametrize("flaw", WRONG)
def test_a_wrong_configuration_is_named(tmp_path: Path, flaw: str):
    text, named = WRONG[flaw]
    with pytest.raises(ConfigError, match=named) as caught:
        load_site(written(tmp_path, text))
    assert str(tmp_path / CONFIG_NAME) in str(caught.value)
    assert caught.value.remedy


def test_a_missing_configuration_says_what_to_do(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load_site(tmp_path / "nowhere")
    assert "init" in caught.value.remedy


def test_what_cannot_be_read_is_no_traceback(tmp_path: Path):
    (tmp_path / CONFIG_NAME).write_bytes(b"names = ['\xff']")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_site(tmp_path)
    (tmp_path / CONFIG_NAME).unlink()
    (tmp_path / CONFIG_NAME).mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_site(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_configuration_of_somebody_else_is_no_traceback(tmp_path: Path):
    written(tmp_path, render(GOOD)).joinpath(CONFIG_NAME).chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_site(tmp_path)
