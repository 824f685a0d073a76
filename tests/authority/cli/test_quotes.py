"""`quote verify`: exit status 0 only if all holds, and every check's result in the JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from authority.tpm import parse_attest
from tests.authority.cli.conftest import Run
from tests.authority.tpm import forge, forge_log


@pytest.fixture
def quote(tmp_path: Path) -> dict[str, object]:
    """Options that name the files of a genuine quote."""
    forger = forge.Forger()
    message = forger.quote()
    contents = {
        "--ak": forger.public,
        "--message": message,
        "--signature": forger.sign(message),
        "--pcrs": b"".join(forge.PCRS.values()),
    }
    for option, content in contents.items():
        (tmp_path / option).write_bytes(content)
    return {option: tmp_path / option for option in contents} | {"--nonce": forge.QUALIFYING.hex()}


def verify(run: Run, options: dict[str, object], *more: object):
    return run("quote", "verify", *(word for pair in options.items() for word in pair), *more)


def results(ended) -> dict[str, str]:
    return {check["name"]: check["result"] for check in ended.value["checks"]}


def test_a_genuine_quote_ends_with_0(run, quote):
    ended = verify(run, quote, "--selection", "sha256:0,7,16", "--json")
    assert ended.status == 0
    assert ended.value["verified"] is True and ended.value["reason"] == ""
    assert set(results(ended).values()) == {"passed"}
    assert ended.value["pcrs"]["sha256"]["7"] == "22" * 32
    assert ended.value["selection"] == "sha256:0,7,16"


def test_a_flaw_ends_with_1_and_is_named(run, quote):
    ended = verify(run, quote | {"--nonce": "00" * 32}, "--json")
    assert ended.status == 1
    assert ended.value["verified"] is False and "wrong-qualifying-data" in ended.value["reason"]
    assert results(ended)["nonce"] == "failed" and results(ended)["signature"] == "passed"


def test_people_are_told_in_words(run, quote):
    assert "verified" in verify(run, quote).out.splitlines()[-1]
    ended = verify(run, quote | {"--nonce": "00" * 32})
    assert ended.status == 1 and "NOT verified: nonce" in ended.out


def test_an_event_log_that_leads_elsewhere_ends_with_1(run, quote, tmp_path):
    (tmp_path / "log").write_bytes(forge_log.LOG)
    ended = verify(run, quote, "--event-log", tmp_path / "log", "--json")
    assert ended.status == 1 and results(ended)["event-log"] == "failed"


@pytest.mark.parametrize("option", ["--ak", "--message", "--signature", "--pcrs"])
@pytest.mark.parametrize("content", [None, b"", bytes(4096), b"\xff" * (1 << 20) + b"x"], ids=["none", "0", "4k", "1M"])
def test_files_that_are_none_of_a_quote_end_with_1(run, quote, tmp_path, option, content):
    path = tmp_path / "bad"
    if content is not None:
        path.write_bytes(content)
    ended = verify(run, quote | {option: path}, "--json")
    assert ended.status == 1
    assert ended.value["verified"] is False and ended.value["reason"]


@pytest.mark.parametrize(
    ("option", "value"), [("--nonce", ""), ("--nonce", "0"), ("--nonce", "xx"), ("--selection", "sha256")]
)
def test_what_cannot_be_asked_is_wrong_usage(run, quote, option, value):
    assert verify(run, quote | {option: value}, "--json").status == 2


@pytest.mark.realdata
def test_files_of_another_program(run, real_data):
    folder = real_data / "tpm_vectors/keylime/tpm2-tools-files"
    names = {"--ak": "ak.pub", "--message": "quote.out", "--signature": "quotesig.out", "--pcrs": "quotepcr.out"}
    options = {option: folder / name for option, name in names.items()}
    nonce = parse_attest((folder / "quote.out").read_bytes()).extra_data.hex()
    assert verify(run, {**options, "--nonce": nonce}, "--selection", "sha256:15,16,22", "--json").status == 0
    assert verify(run, {**options, "--nonce": nonce, "--ak": folder / "akpub.pem"}, "--json").status == 0
    assert verify(run, {**options, "--nonce": nonce, "--ak": folder / "ek.pub"}, "--json").status == 1
