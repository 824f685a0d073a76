"""What goes wrong between a sensor and a match score."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from agent.errors import AgentError

if TYPE_CHECKING:
    from agent.biometrics.values import Quality


class BiometricError(AgentError):
    """Features, templates or models that cannot be used."""

    default_remedy: ClassVar[str] = "Capture again; if it repeats, enrol the administrator again."


class ModelError(BiometricError):
    """A model or its library is missing, or is not the file that was pinned."""

    default_remedy = "Install Keyvigil again with the extras fingerprint, face and voice."


class ModelMismatch(BiometricError):
    """Template and probe were made by different models or parameters and cannot be compared."""

    default_remedy = "Enrol the administrator again: the biometric model changed since the last enrolment."


class StraySample(BiometricError):
    """A sample does not match the others of its enrolment; `index` counts from 0 in the order they were given."""

    default_remedy = "Capture that sample again, with the same finger or the same person."

    def __init__(self, modality: str, index: int) -> None:
        super().__init__(f"{modality} sample {index + 1} does not match the others of this enrolment")
        self.index = index


class CaptureRefused(BiometricError):
    """A capture did not reach the quality that its purpose needs; `quality` holds every reason."""

    default_remedy = "Follow the hints and capture again."

    def __init__(self, quality: Quality) -> None:
        super().__init__("the capture was refused: " + "; ".join(quality.reasons), remedy=" ".join(quality.reasons))
        self.quality = quality
