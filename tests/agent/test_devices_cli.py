"""`keyvigil devices` as a process of its own: what is there, what is wrong, and what comes and goes."""

from __future__ import annotations

import json

import pytest

from agent.diagnostics.udev import rules_text
from tests.agent.diag_bench import Bench, Captured, assert_refused, bench
from tests.agent.test_cli import keyvigil

__all__ = ["bench"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--seconds", "3"],
        ["--watch", "--seconds", "-1"],
        ["--config", "/nonexistent.toml"],
        ["--nosuch"],
        ["extra"],
    ],
)
def test_bad_options_of_devices_end_with_status_2(capsys: Captured, arguments: list[str]) -> None:
    assert_refused(capsys, ["devices", *arguments], 2)


def test_the_udev_rules_are_printed_as_they_are() -> None:
    done = keyvigil("devices", "--udev-rules")
    assert (done.returncode, done.stdout) == (0, rules_text())


def test_devices_tells_what_is_there_and_what_is_wrong(bench: Bench) -> None:
    told = bench.run("devices", "--json", "--config", bench.config())
    assert told.returncode == 0, told.stdout
    found = json.loads(told.stdout)
    assert set(found) == {"drivers", "modalities", "unclaimed", "missing", "findings"}
    attached = {line["driver"]: line["attached"] for line in found["drivers"]}
    assert attached["uru4000"][0]["serial"] == "SIM-D"
    assert "finger-detect" in attached["uru4000"][0]["capabilities"]
    gone = bench.run("devices", "--json", "--config", bench.config(enclave='tcti = "swtpm:path=/nonexistent"'))
    assert gone.returncode == 1
    (wrong,) = json.loads(gone.stdout)["findings"]
    assert (wrong["id"], wrong["subject"]) == ("device.attached", "enclave")


@pytest.mark.slow
def test_devices_watch_prints_json_lines(bench: Bench) -> None:
    done = bench.run("devices", "--watch", "--seconds", "3", "--json", "--config", bench.config())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"uru4000", "tpm2", "portaudio"} <= {line["driver"] for line in lines if line["event"] == "arrived"}
