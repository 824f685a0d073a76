"""Secrets bound to biometrics: a root that comes of two modalities, at least one of them by its embedding alone.

`root = X xor Y`. X lies with every *bound* modality and opens through a fuzzy commitment (Juels and Wattenberg 1999)
over the signs of a secret projection of the embedding. Y is shared 2-of-n (Shamir 1979) among all modalities; a
*released* one has its share only, let go by a matcher elsewhere. No share can be checked by itself. docs/profiles.md
has the scheme, its figures and what it is not worth. Nothing here does I/O, and randomness is passed in.
"""

from agent.profile.commitment._binding import Candidate, bind, candidates, candidates_each, refresh
from agent.profile.commitment._shares import ROOT_BYTES, SCHEME, BoundShare, ReleasedShare, Shares
from agent.profile.commitment.parameters import CodeParameters, parameters_for

__all__ = [
    "ROOT_BYTES",
    "SCHEME",
    "BoundShare",
    "Candidate",
    "CodeParameters",
    "ReleasedShare",
    "Shares",
    "bind",
    "candidates",
    "candidates_each",
    "parameters_for",
    "refresh",
]
