"""Verification of TPM 2.0 evidence in pure Python: endorsement, credentials, certifications, quotes.

Needs `cryptography` only, no TPM software stack. Refusals are `TpmRejected` with a stable `Reason`; bytes that are no
TPM structure raise `TpmFormatError` where no verdict is asked for.
"""

from authority.tpm._reader import TpmFormatError
from authority.tpm.certify import CertifiedUse, verify_certify
from authority.tpm.credential import Credential, make_credential
from authority.tpm.endorsement import EkIdentity, load_roots, verify_endorsement
from authority.tpm.keys import RH_ENDORSEMENT, name, node_id, public_key
from authority.tpm.quote import Quote, verify_quote
from authority.tpm.rejection import CertificationRejected, EndorsementRejected, QuoteRejected, Reason, TpmRejected
from authority.tpm.state_policy import state_policy
from authority.tpm.wire import (
    Attest,
    ClockInfo,
    Public,
    Signature,
    parse_attest,
    parse_public,
    parse_signature,
)

__all__ = [
    "RH_ENDORSEMENT",
    "Attest",
    "CertificationRejected",
    "CertifiedUse",
    "ClockInfo",
    "Credential",
    "EkIdentity",
    "EndorsementRejected",
    "Public",
    "Quote",
    "QuoteRejected",
    "Reason",
    "Signature",
    "TpmFormatError",
    "TpmRejected",
    "load_roots",
    "make_credential",
    "name",
    "node_id",
    "parse_attest",
    "parse_public",
    "parse_signature",
    "public_key",
    "state_policy",
    "verify_certify",
    "verify_endorsement",
    "verify_quote",
]
