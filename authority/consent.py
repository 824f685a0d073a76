"""What a person agrees to when enrolling, and how long the openings of commitments may be kept by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import Row

from authority.trust import Policy
from authority.weak import MATCH_ONLY_MODALITIES
from protocol.openings import agreed_window_s, openings_clause, with_openings

CONSENT_VERSION = "1"
CONSENT_TEXT = (
    "This machine will measure your {modalities}, and keep a template of each, encrypted, on this machine only. "
    "Nothing biometric leaves it. The authority keeps your name, this consent, and a public key. You may have the "
    "profile erased at any time."
)
MATCH_ONLY_TEXT = (
    " For {modalities} the template is kept by the reader or its service on this machine instead, "
    "which Keyvigil does not encrypt."
)


def consent_text(modalities: Sequence[str], window_s: float = 0.0) -> str:
    """What a person agrees to where the policy allows these modalities, and openings for a window."""
    *others, last = modalities
    text = CONSENT_TEXT.format(modalities=f"{', '.join(others)} and {last}" if others else last)
    if kept := [name for name in modalities if name in MATCH_ONLY_MODALITIES]:
        text += MATCH_ONLY_TEXT.format(modalities=", ".join(kept))
    return text + openings_clause(window_s) if window_s else text


def offered(policy: Policy) -> tuple[str, str]:
    """Version and text of the consent that the policy in force asks for."""
    window_s = policy.openings.window_s
    version = with_openings(CONSENT_VERSION, window_s) if window_s else CONSENT_VERSION
    return version, consent_text(policy.enrolment.modalities, window_s)


def opening_s(policy: Policy, profile: Row[Any]) -> float | UnsetType:
    """How long the node may keep the openings of this profile's next presentation: by policy and by consent."""
    version = str(msgspec.json.decode(profile.consent).get("version", ""))
    window_s = min(policy.openings.window_s, agreed_window_s(version))
    return window_s or UNSET
