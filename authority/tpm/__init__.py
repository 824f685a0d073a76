"""Verification of TPM 2.0 evidence in pure Python: endorsement, credentials, certifications, quotes.

Needs `cryptography` only, no TPM software stack. Refusals are `TpmRejected` with a stable `Reason`; bytes that are no
TPM structure raise `TpmFormatError` where no verdict is asked for.
"""

from authority.tpm._reader import TpmFormatError
from authority.tpm.certify import CertifiedUse, verify_certify
from authority.tpm.credential import Credential, make_credential
from authority.tpm.endorsement import EkIdentity, load_roots, verify_endorsement
from authority.tpm.keys import RH_ENDORSEMENT, name, node_id, public_key
from authority.tpm.nv import NvIndex, NvPublic, counter_index, measurement_index, nv_name, parse_nv_public, verify_nv
from authority.tpm.policy import Guard, GuardCount, reset_message, verify_guard, verify_guarded_key
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
    "Guard",
    "GuardCount",
    "NvIndex",
    "NvPublic",
    "Public",
    "Quote",
    "QuoteRejected",
    "Reason",
    "Signature",
    "TpmFormatError",
    "TpmRejected",
    "counter_index",
    "load_roots",
    "make_credential",
    "measurement_index",
    "name",
    "node_id",
    "nv_name",
    "parse_attest",
    "parse_nv_public",
    "parse_public",
    "parse_signature",
    "public_key",
    "reset_message",
    "state_policy",
    "verify_certify",
    "verify_endorsement",
    "verify_guard",
    "verify_guarded_key",
    "verify_nv",
    "verify_quote",
]
