"""What node and authority agree on about the profile key's guard and the approvals of machine states."""

from __future__ import annotations

from typing import Final

PIN_LIMIT: Final = 15
"""Wrong answers that lock a profile key: five presentations of at most `MOST_CANDIDATES` each."""
MOST_CANDIDATES: Final = 3
"""Roots that one presentation may try at the profile key."""
STATE_REFERENCE: Final = b"keyvigil/state/1"
"""policyRef of approvals of a machine state. With the policy's 32 bytes before it, what is signed is shorter than
anything that lifts a lock, which the same key signs."""
FLOOR_LABEL: Final = "keyvigil-floor"
"""Label of the NV counter below whose value no approval counts."""
