"""Structures that other implementations and real machines made."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pytest

from authority.tpm import QuoteRejected, Reason, name, parse_attest, parse_public, verify_quote
from tests.authority.tpm.forge import Forger

pytestmark = pytest.mark.realdata


@pytest.fixture(scope="module")
def tools(real_data: Path) -> Path:
    folder = real_data / "tpm_vectors/keylime/tpm2-tools-files"
    if not folder.is_dir():
        pytest.skip(f"no TPM vectors at {folder}")
    return folder


def values(tools: Path) -> dict[int, bytes]:
    """The values in tpm2_quote's own PCR file: structures in host order, sixteen banks, then lists of eight digests."""
    raw = (tools / "quotepcr.out").read_bytes()
    bitmap = int.from_bytes(raw[7:10], "little")
    registers = [index for index in range(24) if bitmap >> index & 1]
    first = 4 + 16 * 8 + 4 + 4
    return {index: raw[first + 66 * at + 2 : first + 66 * at + 34] for at, index in enumerate(registers)}


def quote(tools: Path, **changes: object):
    attest = (tools / "quote.out").read_bytes()
    pcrs = values(tools)
    arguments = {
        "signature": (tools / "quotesig.out").read_bytes(),
        "ak_public": (tools / "ak.pub").read_bytes(),
        "expected_extra_data": parse_attest(attest).extra_data,
        "required_selection": tuple(pcrs),
        "pcr_values": pcrs,
        "hierarchy": None,
    }
    return verify_quote(attest, **{**arguments, **changes})


def test_a_quote_by_tpm2_tools_is_accepted(tools):
    assert quote(tools).pcrs == values(tools)


def test_the_same_quote_is_refused_for_anything_else(tools):
    pcrs = values(tools)
    for changes, reason in (
        ({"expected_extra_data": bytes(20)}, Reason.WRONG_QUALIFYING_DATA),
        ({"required_selection": (*pcrs, 23)}, Reason.WRONG_SELECTION),
        ({"pcr_values": dict.fromkeys(pcrs, b"\x01" * 32)}, Reason.WRONG_PCR_DIGEST),
        ({"ak_public": (tools / "ek.pub").read_bytes()}, Reason.UNFIT_SIGNER),
    ):
        with pytest.raises(QuoteRejected) as caught:
            quote(tools, **changes)
        assert caught.value.reason is reason


def test_a_name_by_tpm2_tools(tools):
    assert name((tools / "ak.pub").read_bytes()) == (tools / "ak.name").read_bytes()


def test_the_default_template_of_an_endorsement_key(real_data, tools):
    template = (real_data / "tpm_vectors/tpm2-tools/ek-template-default.bin").read_bytes()
    made = parse_public((tools / "ek.pub").read_bytes())
    asked = parse_public(struct.pack(">H", len(template)) + template)
    assert (asked.parameters, asked.attributes, asked.auth_policy) == (
        made.parameters,
        made.attributes,
        made.auth_policy,
    )


def test_a_quote_over_the_sha1_bank_is_refused_for_its_bank(real_data):
    """The vector comes without its key, so a key of ours signs the very same bytes."""
    text = (real_data / "tpm_vectors/rust-keylime/test-quote.txt").read_text().strip()
    attest, forger = base64.b64decode(text.removeprefix("r").split(":")[0]), Forger()
    parsed = parse_attest(attest)
    (selected,) = parsed.attested.selections
    assert selected.bank.name == "SHA1"
    pcrs = dict.fromkeys(selected.pcrs, bytes(32))
    with pytest.raises(QuoteRejected) as caught:
        verify_quote(
            attest,
            forger.sign(attest),
            forger.public,
            expected_extra_data=parsed.extra_data,
            required_selection=selected.pcrs,
            pcr_values=pcrs,
            hierarchy=None,
        )
    assert caught.value.reason is Reason.WRONG_SELECTION
