"""Biometrics of the node: a capture becomes quality, features and a match score, with a reason for every refusal.

Importing this package is cheap; models load on first use or by `Pipelines.warm_up`.
"""

from agent.biometrics.errors import BiometricError, CaptureRefused, ModelError, ModelMismatch, StraySample
from agent.biometrics.face import FacePipeline
from agent.biometrics.fingerprint import FingerprintPipeline
from agent.biometrics.parameters import VERSION as PARAMETERS_VERSION
from agent.biometrics.pipelines import Embedding, Pipeline, Pipelines, enrol, make_pipeline, match
from agent.biometrics.recording import Recording
from agent.biometrics.settings import FaceSettings, FingerprintSettings, VoiceSettings
from agent.biometrics.template import Template
from agent.biometrics.values import Features, MatchResult, Modality, Purpose, Quality, Sample
from agent.biometrics.voice import VoicePipeline

__all__ = [
    "PARAMETERS_VERSION",
    "BiometricError",
    "CaptureRefused",
    "Embedding",
    "FacePipeline",
    "FaceSettings",
    "Features",
    "FingerprintPipeline",
    "FingerprintSettings",
    "MatchResult",
    "Modality",
    "ModelError",
    "ModelMismatch",
    "Pipeline",
    "Pipelines",
    "Purpose",
    "Quality",
    "Recording",
    "Sample",
    "StraySample",
    "Template",
    "VoicePipeline",
    "VoiceSettings",
    "enrol",
    "make_pipeline",
    "match",
]
