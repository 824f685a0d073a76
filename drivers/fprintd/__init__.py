"""Every fingerprint reader that libfprint knows, through its daemon fprintd: match-only, weak evidence.

The daemon says whether a finger matched and nothing more: no image, no template, no score, and nothing of it is bound
to a challenge. Source: D-Bus interfaces net.reactivated.Fprint.Manager and .Device, as fprintd documents them.
"""

from drivers.fprintd._driver import FprintdDriver
from drivers.fprintd._reader import FprintdReader

__all__ = ["FprintdDriver", "FprintdReader"]
