"""Sealed profiles: templates and the profile key's authorisation value, opened by enclave and authority together."""

from agent.profile._record import RecordFile, RecordHeader
from agent.profile._vault import OpenProfile, ProfileDraft, ProfileVault

__all__ = ["OpenProfile", "ProfileDraft", "ProfileVault", "RecordFile", "RecordHeader"]
