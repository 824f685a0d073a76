"""What goes wrong between a sensor and a match score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import BiometricError, StraySample

if TYPE_CHECKING:
    from agent.biometrics.values import Quality

__all__ = ["BiometricError", "CaptureRefused", "ModelError", "ModelMismatch", "StraySample"]


class ModelError(BiometricError):
    """A model or its library is missing, or is not the file that was pinned."""

    default_remedy = "Install Keyvigil again with the extras fingerprint, face and voice."


class ModelMismatch(BiometricError):
    """Template and probe were made by different models or parameters and cannot be compared."""

    default_remedy = "Enrol the administrator again: the biometric model changed since the last enrolment."


class CaptureRefused(BiometricError):
    """A capture did not reach the quality that its purpose needs; `quality` holds every reason."""

    default_remedy = "Follow the hints and capture again."

    def __init__(self, quality: Quality) -> None:
        super().__init__("the capture was refused: " + "; ".join(quality.reasons), remedy=" ".join(quality.reasons))
        self.quality = quality
