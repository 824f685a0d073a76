"""Seeds of the simulated attacks: one set to tune against, one that is looked at only to report."""

from __future__ import annotations

from typing import Final

TUNING: Final = 20_261_127
REPORTED: Final = 77_004_211
