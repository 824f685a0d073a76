"""tpm2-tools as the other side: its quotes for our verifier, our credentials and quotes for its programs."""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authority.tpm import QuoteRejected, make_credential, name, public_key, verify_quote

NONCE = bytes(range(32))
SECRET = b"0123456789abcdef"
Tool = Callable[..., None]


@pytest.fixture
def tool(first_tpm, tmp_path: Path) -> Tool:
    """Runs one of the tpm2 programs in the test's folder on the first TPM, and flushes what earlier ones left."""
    if not shutil.which("tpm2_quote"):
        pytest.skip("no second implementation: apt-get install tpm2-tools")
    environment = {**os.environ, "TPM2TOOLS_TCTI": first_tpm.tcti, "TSS2_LOG": "all+NONE"}

    def run(*command: str) -> None:
        for line in (("tpm2_flushcontext", "-t"), command):
            subprocess.run(line, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=30)

    return run


def test_its_quotes_are_accepted(tool, tmp_path, first):
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
    tool("tpm2_createprimary", "-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-a", attributes, "-c", "ak.ctx")
    tool("tpm2_readpublic", "-c", "ak.ctx", "-f", "tss", "-o", "ak.pub")
    tool("tpm2_quote", "-c", "ak.ctx", "-l", "sha256:0,7,17", "-q", NONCE.hex(), "-m", "msg", "-s", "sig", "-f", "tss")
    attest, signature, ak = ((tmp_path / name).read_bytes() for name in ("msg", "sig", "ak.pub"))
    pcrs = first.read_pcrs((0, 7, 17))
    assert verify_quote(attest, signature, ak, NONCE, (0, 7, 17), pcrs).pcrs == pcrs
    with pytest.raises(QuoteRejected):
        verify_quote(attest, signature, ak, NONCE, (0, 7), pcrs)


def test_a_quote_over_an_absent_bank_is_refused(tool, tmp_path, first):
    """The TPM signs it, with an empty selection: everything but the comparison of the selection holds."""
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
    tool("tpm2_createprimary", "-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-a", attributes, "-c", "ak.ctx")
    tool("tpm2_readpublic", "-c", "ak.ctx", "-f", "tss", "-o", "ak.pub")
    tool("tpm2_quote", "-c", "ak.ctx", "-l", "sha1:0,7", "-q", NONCE.hex(), "-m", "msg", "-s", "sig", "-f", "tss")
    attest, signature, ak = ((tmp_path / name).read_bytes() for name in ("msg", "sig", "ak.pub"))
    with pytest.raises(QuoteRejected, match="wrong-selection"):
        verify_quote(attest, signature, ak, NONCE, (0, 7), first.read_pcrs((0, 7)))


def test_it_accepts_our_quotes(tool, tmp_path, first):
    quote = first.quote(NONCE, (0, 7, 17))
    pem = public_key(first.attestation_key()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for file, content in (("ak.pem", pem), ("msg", quote.attest), ("sig", quote.signature)):
        (tmp_path / file).write_bytes(content)
    tool("tpm2_checkquote", "-u", "ak.pem", "-m", "msg", "-s", "sig", "-q", NONCE.hex())
    with pytest.raises(subprocess.CalledProcessError):
        tool("tpm2_checkquote", "-u", "ak.pem", "-m", "msg", "-s", "sig", "-q", bytes(32).hex())


def test_it_opens_our_credentials(tool, tmp_path, first):
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign"
    tool("tpm2_createprimary", "-C", "e", "-G", "ecc256:ecdsa-sha256:null", "-a", attributes, "-c", "ak.ctx")
    tool("tpm2_readpublic", "-c", "ak.ctx", "-f", "tss", "-o", "ak.pub")
    made = make_credential(
        first.endorsement().ek_public, name((tmp_path / "ak.pub").read_bytes()), SECRET, secrets.token_bytes
    )
    (tmp_path / "cred").write_bytes(struct.pack(">II", 0xBADCC0DE, 1) + made.blob + made.encrypted_secret)
    tool("tpm2_startauthsession", "--policy-session", "-S", "session.ctx")
    tool("tpm2_policysecret", "-S", "session.ctx", "-c", "e")
    activate = ("tpm2_activatecredential", "-c", "ak.ctx", "-C", "0x81010001", "-P", "session:session.ctx")
    tool(*activate, "-i", "cred", "-o", "secret")
    tool("tpm2_flushcontext", "session.ctx")
    assert (tmp_path / "secret").read_bytes() == SECRET
