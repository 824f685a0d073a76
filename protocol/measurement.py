"""What a node's TPM counts and measures beside its boot: one counter of evidence, one index that the agent extends."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

COUNTER_LABEL = "keyvigil-evidence"
"""Label of the NV counter that every piece of evidence advances."""
AGENT_LABEL = "keyvigil-agent"
"""Label of the NV extend index that the agent measures its own code into, once since the TPM's last reset."""
START = bytes(32)
"""What the index holds after a reset."""


def extended(measured: Iterable[bytes]) -> bytes:
    """What the index holds after these digests (32 bytes each): SHA-256(old ‖ digest), from zeros."""
    value = START
    for digest in measured:
        value = hashlib.sha256(value + digest).digest()
    return value
