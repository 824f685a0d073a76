"""Sealed profiles: a root bound to biometrics, opened by enclave and authority, that the profile key answers to."""

from agent.profile._files import ProfileFiles
from agent.profile._key import Permit, ProfileKey
from agent.profile._open import OpenProfile, OpenVersion, Probes, Unlocked, agreeing
from agent.profile._record import RecordFile, RecordHeader
from agent.profile._vault import Bound, ProfileDraft, ProfileVault, Sealed, Sealing, can_bind

__all__ = [
    "Bound",
    "OpenProfile",
    "OpenVersion",
    "Permit",
    "Probes",
    "ProfileDraft",
    "ProfileFiles",
    "ProfileKey",
    "ProfileVault",
    "RecordFile",
    "RecordHeader",
    "Sealed",
    "Sealing",
    "Unlocked",
    "agreeing",
    "can_bind",
]
