"""Sections that a modality adds to its report, beside the rates of its matcher.

A section is a function of the subjects' folders; what it returns stands in the report under its name. A site measures
everything about a modality with one command this way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.biometrics import Modality
from agent.evaluation.folder import Folder
from agent.evaluation.progress import Watcher
from agent.evaluation.spoken_digits import spoken_digits

Section = Callable[[Folder, int, Watcher], Mapping[str, Any] | None]
"""Called with the folder, the seed and the progress; rates are fractions, None where the section does not apply."""

SECTIONS: Mapping[Modality, Mapping[str, Section]] = {Modality.VOICE: {"spoken_digits": spoken_digits}}
"""Sections by modality and name in the report."""


def measure(
    modality: Modality,
    folder: Folder,
    seed: int,
    watcher: Watcher,
    sections: Mapping[Modality, Mapping[str, Section]] = SECTIONS,
) -> dict[str, Mapping[str, Any]]:
    """Every section of the modality that applies to the folder."""
    measured = {name: section(folder, seed, watcher) for name, section in sections.get(modality, {}).items()}
    return {name: result for name, result in measured.items() if result is not None}
