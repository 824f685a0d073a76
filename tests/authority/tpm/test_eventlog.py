"""Event logs: what is read, what is refused, and what a replay gives, against tpm2_eventlog as well."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from authority.tpm import TpmFormatError, parse_event_log, replay
from authority.tpm.eventlog import MAX_LOG, data_hashes, reset_value
from authority.tpm.wire import Algorithm
from tests.authority.tpm import forge_log as log
from tests.authority.tpm.forge_log import SHA1, SHA256, SHA384

ZEROS = bytes(32)
BANK = Algorithm.SHA256
HEAD = log.header(SHA256)


def test_a_boot_is_replayed():
    values = replay(parse_event_log(log.LOG), BANK)
    assert values[7] == log.extended(ZEROS, log.SEPARATOR_DATA)
    assert values[4] == log.extended(ZEROS, log.SEPARATOR_DATA, b"loader")
    assert set(values) == set(range(8))


def test_a_log_of_several_banks_is_replayed_in_each():
    data = log.header(SHA1, SHA256, SHA384) + log.event(2, log.ACTION, b"x", SHA1, SHA256, SHA384)
    read = parse_event_log(data)
    for bank, size in ((Algorithm.SHA1, 20), (Algorithm.SHA256, 32), (Algorithm.SHA384, 48)):
        name = bank.name.lower()
        assert replay(read, bank) == {2: hashlib.new(name, bytes(size) + hashlib.new(name, b"x").digest()).digest()}


def test_a_log_of_before_there_were_banks_is_of_sha1():
    read = parse_event_log(log.legacy(0, log.ACTION, b"x") + log.legacy(0, log.NO_ACTION, b"y"))
    assert replay(read, Algorithm.SHA1) == {0: hashlib.sha1(bytes(20) + hashlib.sha1(b"x").digest()).digest()}
    with pytest.raises(TpmFormatError, match="no digests of the SHA256 bank"):
        replay(read, BANK)


def test_what_measures_nothing_is_not_extended():
    """The negative control is the same event of another type."""
    silent, loud = (HEAD + log.event(1, kind, b"x", SHA256) for kind in (log.NO_ACTION, log.ACTION))
    assert replay(parse_event_log(silent), BANK) == {}
    assert replay(parse_event_log(loud), BANK) == {1: log.extended(ZEROS, b"x")}


@pytest.mark.parametrize("value", [0, 3, 4])
def test_register_0_starts_with_the_locality(value):
    data = HEAD + log.locality(value) + log.event(0, log.ACTION, b"x", SHA256) + log.event(1, log.ACTION, b"x", SHA256)
    values = replay(parse_event_log(data), BANK)
    assert values[0] == log.extended(bytes(31) + bytes([value]), b"x")
    assert values[1] == log.extended(ZEROS, b"x")


def test_before_a_dynamic_launch_its_registers_hold_ones():
    assert (reset_value(17, BANK), reset_value(16, BANK), reset_value(23, BANK)) == (b"\xff" * 32, ZEROS, ZEROS)


def test_data_that_was_measured_is_told_from_data_that_was_not():
    first, second = parse_event_log(
        log.header(SHA256) + log.event(4, 13, b"path", SHA256) + log.event(4, 13, b"path", SHA256, digest=b"\1" * 32)
    ).events[1:]
    assert (data_hashes(first, BANK), data_hashes(second, BANK)) == (True, False)


_EXTENDED = log.event(0, log.ACTION, b"x", SHA256)
REFUSED = {
    "empty": b"",
    "too large": HEAD + log.event(0, log.ACTION, bytes(MAX_LOG), SHA256),
    "cut off": log.LOG[:-1],
    "something behind it": log.LOG + b"\0",
    "no digests": HEAD + struct.pack("<III", 0, 4, 0) + struct.pack("<I", 0),
    "more digests than banks": HEAD + log.event(0, 4, b"", SHA256, SHA256),
    "a bank twice": log.header(SHA1, SHA256) + log.event(0, 4, b"", SHA256, SHA256),
    "a bank that was not announced": HEAD + log.event(0, 4, b"", SHA384),
    "a register that does not exist": HEAD + log.event(24, 4, b"", SHA256),
    "no register for something that extends": HEAD + log.event(0xFFFFFFFF, 4, b"", SHA256),
    "a size that the bank does not have": log.header(SHA256, sizes={SHA256: 20}),
    "banks announced twice": log.header(SHA256, SHA256),
    "no banks": log.header(),
    "something behind the header": log.header(SHA256, trailing=b"\0"),
    "a locality that no TPM starts in": HEAD + log.locality(2),
    "a locality of another register": HEAD + log.locality(3, pcr=1),
    "a locality twice": HEAD + log.locality(3) + log.locality(3),
    "a locality after the fact": HEAD + _EXTENDED + log.locality(3),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_log_is_refused(data):
    with pytest.raises(TpmFormatError):
        parse_event_log(data)


def test_an_event_without_a_register_may_say_something():
    assert len(parse_event_log(HEAD + log.event(0xFFFFFFFF, log.NO_ACTION, b"RIM", SHA256)).events) == 2


def test_a_bank_that_an_event_leaves_out_cannot_be_replayed():
    read = parse_event_log(log.header(SHA1, SHA256) + log.event(0, log.ACTION, b"x", SHA1))
    assert set(replay(read, Algorithm.SHA1)) == {0}
    with pytest.raises(TpmFormatError, match="no SHA256 digest"):
        replay(read, BANK)


def test_every_digest_counts():
    """Whichever byte of a digest is another one, its register is."""
    genuine = replay(parse_event_log(log.LOG), BANK)
    digest = hashlib.sha256(b"loader").digest()
    start = log.LOG.index(digest)
    for at in range(start, start + 32):
        changed = bytearray(log.LOG)
        changed[at] ^= 1
        assert replay(parse_event_log(bytes(changed)), BANK)[4] != genuine[4]


def _theirs(path: Path) -> dict[Algorithm, dict[int, bytes]]:
    """What tpm2_eventlog replays."""
    done = subprocess.run(["tpm2_eventlog", path], capture_output=True, text=True, check=True, timeout=60)
    found: dict[Algorithm, dict[int, bytes]] = {}
    for line in done.stdout[done.stdout.index("\npcrs:") :].splitlines():
        if bank := re.match(r"  (sha\d+):", line):
            values = found.setdefault(Algorithm[bank[1].upper()], {})
        elif value := re.match(r"\s+(\d+)\s*: 0x([0-9a-f]+)", line):
            values[int(value[1])] = bytes.fromhex(value[2])
    return found


def _agree(path: Path) -> None:
    theirs, ours = _theirs(path), parse_event_log(path.read_bytes())
    assert theirs
    for bank, values in theirs.items():
        assert replay(ours, bank) == values


needs_tools = pytest.mark.skipif(not shutil.which("tpm2_eventlog"), reason="apt-get install tpm2-tools")


@needs_tools
def test_tpm2_eventlog_replays_our_log_likewise(tmp_path):
    (tmp_path / "log").write_bytes(log.LOG)
    _agree(tmp_path / "log")


@needs_tools
@pytest.mark.realdata
@pytest.mark.parametrize(
    "name",
    [
        "tpm2-tools/event-arch-linux.bin",
        "tpm2-tools/event-bootorder.bin",
        "tpm2-tools/event-moklisttrusted.bin",
        "tpm2-tools/event-sd-boot-fedora37.bin",
        "tpm2-tools/event-uefi-sha1-log.bin",
        "keylime/binary_bios_measurements-secureboot",
    ],
)
def test_logs_of_real_machines_replay_as_tpm2_eventlog_says(real_data, name):
    _agree(real_data / "tpm_vectors" / name)


@needs_tools
@pytest.mark.realdata
def test_a_log_that_keylime_keeps(real_data, tmp_path):
    text = (real_data / "tpm_vectors/keylime/mb_log.b64").read_bytes()
    (tmp_path / "log").write_bytes(base64.b64decode(text))
    _agree(tmp_path / "log")
