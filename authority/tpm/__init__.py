"""Verification of TPM 2.0 evidence in pure Python: endorsement, credentials, certifications, quotes.

Needs `cryptography` only, no TPM software stack. Refusals are `TpmRejected` with a stable `Reason`; bytes that are no
TPM structure raise `TpmFormatError` where no verdict is asked for.
"""

from authority.tpm._reader import TpmFormatError
from authority.tpm.certify import CertifiedUse, verify_certify
from authority.tpm.credential import Credential, make_credential
from authority.tpm.endorsement import EkIdentity, load_roots, verify_endorsement
from authority.tpm.eventlog import EventLog, LoggedEvent, data_hashes, parse_event_log, replay
from authority.tpm.examination import (
    Check,
    Examination,
    QuoteFiles,
    Result,
    examine,
    explain,
    parse_selection,
    selection_text,
)
from authority.tpm.keys import RH_ENDORSEMENT, name, node_id, public_key
from authority.tpm.nv import NvIndex, NvPublic, counter_index, measurement_index, nv_name, parse_nv_public, verify_nv
from authority.tpm.ownership import Permanent, definition_message, removal_message, verify_ownership
from authority.tpm.policy import Guard, GuardCount, reset_message, verify_guard, verify_guarded_key
from authority.tpm.quote import Quote, verify_quote
from authority.tpm.rejection import CertificationRejected, EndorsementRejected, QuoteRejected, Reason, TpmRejected
from authority.tpm.state_policy import state_policy
from authority.tpm.wire import (
    Algorithm,
    Attest,
    ClockInfo,
    PcrSelection,
    Public,
    Signature,
    parse_attest,
    parse_public,
    parse_signature,
)

__all__ = [
    "RH_ENDORSEMENT",
    "Algorithm",
    "Attest",
    "CertificationRejected",
    "CertifiedUse",
    "Check",
    "ClockInfo",
    "Credential",
    "EkIdentity",
    "EndorsementRejected",
    "EventLog",
    "Examination",
    "Guard",
    "GuardCount",
    "LoggedEvent",
    "NvIndex",
    "NvPublic",
    "PcrSelection",
    "Permanent",
    "Public",
    "Quote",
    "QuoteFiles",
    "QuoteRejected",
    "Reason",
    "Result",
    "Signature",
    "TpmFormatError",
    "TpmRejected",
    "counter_index",
    "data_hashes",
    "definition_message",
    "examine",
    "explain",
    "load_roots",
    "make_credential",
    "measurement_index",
    "name",
    "node_id",
    "nv_name",
    "parse_attest",
    "parse_event_log",
    "parse_nv_public",
    "parse_public",
    "parse_selection",
    "parse_signature",
    "public_key",
    "removal_message",
    "replay",
    "reset_message",
    "selection_text",
    "state_policy",
    "verify_certify",
    "verify_endorsement",
    "verify_guard",
    "verify_guarded_key",
    "verify_nv",
    "verify_ownership",
    "verify_quote",
]
