"""The kernel's counts of IPsec packets that came to nothing: /proc/net/xfrm_stat."""

from __future__ import annotations

from pathlib import Path

MEANING = {
    "XfrmInNoStates": "packets came under keys that are not installed: a peer sends under a retired or unknown one",
    "XfrmInStateProtoError": "packets did not authenticate: keys differ, or somebody forges",
    "XfrmInStateSeqError": "packets were replayed, or late beyond the replay window",
    "XfrmInStateMismatch": "packets came from an address that their key is not for",
    "XfrmInNoPols": "packets came under keys without a policy",
    "XfrmInTmplMismatch": "packets came in clear that must be encrypted",
    "XfrmInPolBlock": "packets came in clear, or from members without an association, and were dropped",
    "XfrmOutPolBlock": "packets to members without an association were dropped",
    "XfrmOutNoStates": "packets were dropped for want of a key",
    "XfrmOutStateSeqError": "a key ran out of sequence numbers",
}
"""What the counters that matter here mean (Documentation/networking/xfrm_proc.rst)."""

WORRYING = frozenset(
    {
        "XfrmInNoStates",
        "XfrmInStateProtoError",
        "XfrmInStateSeqError",
        "XfrmInStateMismatch",
        "XfrmInTmplMismatch",
        "XfrmOutNoStates",
        "XfrmOutStateSeqError",
    }
)
"""Those that no member without an association explains."""


def read_counters(path: Path = Path("/proc/net/xfrm_stat")) -> dict[str, int] | None:
    """Counters above zero by name; `None` where the kernel does not count."""
    try:
        text = path.read_text("ascii", "replace")
    except OSError:
        return None
    pairs = [line.split() for line in text.splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit() and int(pair[1])}
