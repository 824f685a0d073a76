from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import load_config, parse_config
from agent.errors import ConfigError

PIN = "0" * 64

COMPLETE = f"""
[node]
name = "node-a"
state_dir = "/var/lib/keyvigil"
authority = "https://authority.example:8443"

[devices.enclave]
driver = "tpm2"
sha256 = "{PIN}"
options = {{ tcti = "device:/dev/tpmrm0" }}

[devices.fingerprint]
driver = "uru4000"
sha256 = "{PIN}"

[devices.face]
driver = "opencv"
sha256 = "{PIN}"
"""


def test_a_complete_file_gives_its_values_and_the_defaults() -> None:
    config = parse_config(COMPLETE.encode())
    assert config.node.name == "node-a"
    assert config.devices.enclave.options == {"tcti": "device:/dev/tpmrm0"}
    assert list(config.devices.sensors()) == ["fingerprint", "face"]
    assert config.presentation.minimum_modalities == 2
    assert config.prompt.terminal


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ('[node]\nnmae = "x"', "nmae"),
        ("[presentation]\nminimum = 2", "presentation"),
        ("[presentation]\nminimum_modalities = 4", "presentation.minimum_modalities"),
        ("[presentation]\nminimum_modalities = true", "presentation.minimum_modalities"),
        ("[presentation]\ndeadline_margin_s = -1", "presentation.deadline_margin_s"),
        ('[prompt]\nhook = "sh -c x"', "prompt.hook"),
        ('[log]\nlevel = "loud"', "log.level"),
        ("[[sinks]]\noptions = {}", "kind"),
        ("[presentation]\nminimum_modalities = 3", "minimum_modalities"),
        ("= = =", "configuration"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_a_remedy(change: str, names: str) -> None:
    text = COMPLETE.replace("[node]", change, 1) if change.startswith("[node]") else COMPLETE + change
    with pytest.raises(ConfigError) as refusal:
        parse_config(text.encode())
    assert names in str(refusal.value)
    assert refusal.value.remedy
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ('"https://authority.example:8443"', '"http://authority.example"', "node.authority"),
        ('"https://authority.example:8443"', '"https://authority.example:99999"', "node.authority"),
        ('"https://authority.example:8443"', '"https://authority.example/path"', "node.authority"),
        ('"/var/lib/keyvigil"', '"relative"', "node.state_dir"),
        ('"node-a"', '"Node A"', "node.name"),
        (PIN, "abc", "sha256"),
        ('driver = "tpm2"\n', "", "driver"),
    ],
)
def test_values_that_would_fail_later_fail_at_once(old: str, new: str, names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        parse_config(COMPLETE.replace(old, new, 1).encode())


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.toml")
