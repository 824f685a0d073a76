"""Examination of quotes from files: each check can fail, and nothing else than the genuine files holds."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authority.tpm import QuoteFiles, Reason, Result, examine, parse_selection, selection_text
from tests.authority.tpm import forge, forge_log

NONCE = forge.QUALIFYING
SELECTION = parse_selection("sha256:0,7,16")
VALUES = b"".join(forge.PCRS.values())
FORGER = forge.Forger()


def files(forger: forge.Forger = FORGER, quote: bytes | None = None, **changes: object) -> QuoteFiles:
    message = forger.quote() if quote is None else quote
    return replace(QuoteFiles(forger.public, message, forger.sign(message), VALUES), **changes)


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: Encoding = Encoding.PEM) -> bytes:
    return key.public_key().public_bytes(form, PublicFormat.SubjectPublicKeyInfo)


def flaws(found) -> dict[str, str]:
    return {check.name: check.reason for check in found.checks if check.result is Result.FAILED}


def test_a_genuine_quote_holds_with_and_without_a_selection():
    for selection in (SELECTION, None):
        found = examine(files(), NONCE, selection)
        assert found.verified and found.first_flaw is None
        assert {check.result for check in found.checks} == {Result.PASSED}
        assert selection_text(found.selection) == "sha256:0,7,16"


@pytest.mark.parametrize("form", [Encoding.PEM, Encoding.DER])
def test_a_bare_key_verifies_and_is_not_said_to_be_of_a_tpm(form):
    found = examine(files(signer=spki(FORGER.key, form)), NONCE, SELECTION)
    assert found.verified
    assert {check.name: check.result for check in found.checks}["key-attributes"] is Result.UNKNOWN


def test_a_public_area_without_its_length_is_the_same_key():
    assert examine(files(signer=FORGER.public[2:]), NONCE, SELECTION).verified


OTHER = forge.Forger()
WEAK_BANK = forge.selection((forge.SHA1, (0,)))
EMPTY = forge.selection((forge.SHA1, ()))
FLAWS = {
    "another key": (files(signer=OTHER.public), {"signature": Reason.BAD_SIGNATURE}),
    "a key that is not restricted": (
        files(forge.Forger(attributes=forge.AK & ~forge.RESTRICTED)),
        {"key-attributes": Reason.UNFIT_SIGNER},
    ),
    "no key": (files(signer=b"-----BEGIN NONSENSE-----"), {"key": Reason.MALFORMED}),
    "a private key": (files(signer=b"-----BEGIN PRIVATE KEY-----\nAA==\n"), {"key": Reason.MALFORMED}),
    "a small key": (files(signer=spki(rsa.generate_private_key(65537, 1024))), {"key": Reason.MALFORMED}),
    "a signature of SHA-1": (
        files(signature=FORGER.sign(FORGER.quote(), forge.SHA1)),
        {"signature": Reason.WEAK_HASH},
    ),
    "no quote": (files(quote=FORGER.certification(FORGER.public)), {"message": Reason.WRONG_TYPE}),
    "no TPM": (files(quote=FORGER.quote(magic=0)), {"message": Reason.MALFORMED}),
    "bytes behind it": (files(quote=FORGER.quote(trailing=b"\0")), {"message": Reason.MALFORMED}),
    "another nonce": (files(quote=FORGER.quote(extra=bytes(32))), {"nonce": Reason.WRONG_QUALIFYING_DATA}),
    "other values": (files(registers=bytes(96)), {"pcr-digest": Reason.WRONG_PCR_DIGEST}),
    "too few values": (files(registers=VALUES[:64]), {"pcr-values": Reason.MALFORMED}),
    "an absent bank": (
        files(quote=FORGER.quote(EMPTY, hashlib.sha256(b"").digest()), registers=b""),
        {"selection": Reason.WRONG_SELECTION},
    ),
}


@pytest.mark.parametrize(("changed", "wanted"), FLAWS.values(), ids=FLAWS)
def test_each_flaw_is_named_and_refuses_the_whole(changed, wanted):
    found = examine(changed, NONCE)
    assert flaws(found) == wanted
    assert not found.verified


def test_more_registers_or_fewer_than_asked_for_are_refused():
    for text in ("sha256:0,7", "sha256:0,7,16,17", "sha384:0,7,16", "sha256:0,7,16+sha1:0"):
        assert flaws(examine(files(), NONCE, parse_selection(text))) == {"selection": Reason.WRONG_SELECTION}


def test_registers_of_sha1_hold_only_when_asked_for():
    values = bytes(20)
    weak = files(quote=FORGER.quote(WEAK_BANK, forge.pcr_digest([values])), registers=values)
    assert flaws(examine(weak, NONCE)) == {"selection": Reason.WEAK_HASH}
    found = examine(weak, NONCE, parse_selection("sha1:0"))
    assert found.verified and found.selection[0].weak


def test_a_bank_named_twice_is_refused():
    twice = forge.selection((forge.SHA256, (0,)), (forge.SHA256, (7,)))
    registers = forge.PCRS[0] + forge.PCRS[7]
    doubled = files(quote=FORGER.quote(twice, forge.pcr_digest([registers])), registers=registers)
    assert flaws(examine(doubled, NONCE, parse_selection("sha256:0,7"))) == {"selection": Reason.WRONG_SELECTION}


def test_without_a_nonce_nothing_is_examined():
    with pytest.raises(ValueError, match="any age"):
        examine(files(quote=FORGER.quote(extra=b"")), b"")


def test_a_selection_is_read_as_tpm2_tools_write_it():
    for text in ("sha256:0,1,2+sha384:7", "sha1:0", "sha512:23"):
        assert selection_text(parse_selection(text)) == text
    assert parse_selection("sha256:all")[0].pcrs == tuple(range(24))
    for text in ("", "sha256", "sha256:", "md5:1", "sha256:x", "sha256:32", "sha256:-1", "sha256:0+sha256:1", "²:1"):
        with pytest.raises(ValueError):
            parse_selection(text)


BOOT = {pcr: forge_log.extended(bytes(32), forge_log.SEPARATOR_DATA) for pcr in range(8)}
BOOT[4] = forge_log.extended(BOOT[4], b"loader")


def booted(log: bytes | None, **values: bytes) -> QuoteFiles:
    """A quote over the firmware's registers and 10, with a log."""
    registers = {**BOOT, 10: bytes(32)} | {int(name[1:]): value for name, value in values.items()}
    chosen = forge.selection((forge.SHA256, tuple(registers)))
    quote = FORGER.quote(chosen, forge.pcr_digest(list(registers.values())))
    return files(quote=quote, registers=b"".join(registers.values()), event_log=log)


def test_a_log_that_leads_to_the_values_holds():
    found = examine(booted(forge_log.LOG), NONCE)
    assert found.verified and found.unlogged == []


def test_what_the_operating_system_extended_is_told():
    found = examine(booted(forge_log.LOG, p10=b"\1" * 32), NONCE)
    assert found.verified and found.unlogged == [10]


@pytest.mark.parametrize(
    "log",
    [
        forge_log.LOG + forge_log.event(4, forge_log.IPL, b"more", forge_log.SHA256),
        forge_log.LOG.replace(hashlib.sha256(b"loader").digest(), bytes(32)),
        forge_log.header(forge_log.SHA256),
        forge_log.LOG + forge_log.event(10, forge_log.IPL, b"x", forge_log.SHA256),
    ],
    ids=["an event too many", "another digest", "events left out", "an event that nobody extended"],
)
def test_a_log_that_leads_elsewhere_is_refused(log):
    assert flaws(examine(booted(log), NONCE)) == {"event-log": Reason.WRONG_EVENT_LOG}


def test_bytes_that_are_no_log_are_refused():
    assert flaws(examine(booted(b"no log"), NONCE)) == {"event-log": Reason.MALFORMED}


TEMPLATES = {
    "rsassa": ("rsa2048:rsassa-sha256:null", "sha256"),
    "rsapss": ("rsa2048:rsapss-sha256:null", "sha256"),
    "ecdsa": ("ecc256:ecdsa-sha256:null", "sha256"),
    "ecdsa-384": ("ecc384:ecdsa-sha384:null", "sha384"),
}
ATTRIBUTES = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"


@pytest.fixture
def tool(first_tpm, tmp_path: Path):
    if not shutil.which("tpm2_quote"):
        pytest.skip("no second implementation: apt-get install tpm2-tools")
    environment = {**os.environ, "TPM2TOOLS_TCTI": first_tpm.tcti, "TSS2_LOG": "all+NONE"}

    def run(*command: str) -> int:
        for line in (("tpm2_flushcontext", "-t"), command):
            done = subprocess.run(line, cwd=tmp_path, env=environment, check=False, capture_output=True, timeout=30)
        return done.returncode

    return run


def their_quote(tool, folder: Path, template: str, hashed: str, *options: str, form: str = "tss") -> QuoteFiles:
    """A quote by tpm2_quote over registers 0, 7 and 17."""
    tool("tpm2_createprimary", "-C", "e", "-G", template, "-a", ATTRIBUTES, "-c", "ak.ctx")
    tool("tpm2_readpublic", "-c", "ak.ctx", "-f", form, "-o", "ak")
    tool("tpm2_readpublic", "-c", "ak.ctx", "-f", "pem", "-o", "ak.pem")
    scheme = ("--scheme", "rsapss") if "rsapss" in template else ()
    written = ("-m", "msg", "-s", "sig", "-o", "pcrs")
    line = ("tpm2_quote", "-c", "ak.ctx", "-q", NONCE.hex(), "-g", hashed, *scheme, *written, *options)
    assert tool(*line) == 0
    return QuoteFiles(*((folder / name).read_bytes() for name in ("ak", "msg", "sig", "pcrs")))


@pytest.mark.parametrize("pcrs", ["serialized", "values"])
@pytest.mark.parametrize("kind", TEMPLATES)
def test_quotes_by_tpm2_quote_hold_with_every_kind_of_key(tool, tmp_path, kind, pcrs):
    template, hashed = TEMPLATES[kind]
    made = their_quote(tool, tmp_path, template, hashed, "-l", "sha256:0,7,17", "-F", pcrs)
    assert examine(made, NONCE, parse_selection("sha256:0,7,17")).verified
    assert examine(replace(made, signer=(tmp_path / "ak.pem").read_bytes()), NONCE).verified
    assert not examine(made, bytes(32)).verified


def test_tpm2_checkquote_and_we_agree_about_files(tool, tmp_path):
    template, hashed = TEMPLATES["ecdsa"]
    made = their_quote(tool, tmp_path, template, hashed, "-l", "sha256:0,7,17")
    check = ("tpm2_checkquote", "-u", "ak.pem", "-m", "msg", "-s", "sig", "-f", "pcrs", "-q")
    assert tool(*check, NONCE.hex()) == 0
    assert tool(*check, bytes(32).hex()) != 0
    changed = bytearray(made.registers)
    changed[140 + 2] ^= 1
    (tmp_path / "pcrs").write_bytes(changed)
    assert tool(*check, NONCE.hex()) != 0
    assert flaws(examine(replace(made, registers=bytes(changed)), NONCE)) == {"pcr-digest": Reason.WRONG_PCR_DIGEST}


@pytest.mark.parametrize("form", ["tss", "tpmt"])
def test_signatures_without_a_frame_are_read_by_the_keys_own_scheme(tool, tmp_path, form):
    for template, hashed in TEMPLATES.values():
        made = their_quote(tool, tmp_path, template, hashed, "-l", "sha256:0,7", "-f", "plain", form=form)
        assert examine(made, NONCE).verified


def test_every_byte_of_every_file_counts(tool, tmp_path):
    """Those of the key aside, which is what a caller trusts to begin with."""
    template, hashed = TEMPLATES["ecdsa"]
    made = their_quote(tool, tmp_path, template, hashed, "-l", "sha256:0,7,17")
    made = replace(made, signer=(tmp_path / "ak.pem").read_bytes())
    for name in ("message", "signature", "registers"):
        genuine = getattr(made, name)
        for at in range(len(genuine)):
            for bit in (0, 3, 5, 7):
                changed = genuine[:at] + bytes([genuine[at] ^ 1 << bit]) + genuine[at + 1 :]
                assert not examine(replace(made, **{name: changed}), NONCE).verified, (name, at)
        for changed in (genuine[:-1], genuine + b"\0", b""):
            assert not examine(replace(made, **{name: changed}), NONCE).verified, name


def test_a_bank_that_the_tpm_lacks_leaves_its_trace_in_the_file(tool, tmp_path):
    template, hashed = TEMPLATES["ecdsa"]
    made = their_quote(tool, tmp_path, template, hashed, "-l", "sha512:0+sha256:0,7")
    found = examine(made, NONCE, parse_selection("sha256:0,7"))
    assert found.verified, found.checks


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 17), (0, 0), (6, 5), (11, 1), (132, 2), (136, 9), (140, 65)],
    ids=["banks", "no bank", "bitmap's size", "filling", "lists", "digests", "a digest's size"],
)
def test_a_file_of_values_that_no_tool_writes_is_refused(at, value):
    good = forge.serialized(forge.PCRS)
    assert examine(files(registers=good), NONCE).verified
    bad = good[:at] + bytes([value]) + good[at + 1 :]
    assert flaws(examine(files(registers=bad), NONCE)) == {"pcr-values": Reason.MALFORMED}
