"""What a site may choose about a pipeline; everything else that decides is in `agent.biometrics.parameters`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class FingerprintSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`extractor`: minutiae by a neural network, or faster and less exact by NIST's mindtct.

    `threshold` is the least score of a match that the site measured on its own people; 0 for the shipped one.
    """

    extractor: Literal["neural", "fast"] = "neural"
    threshold: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 0.0


class FaceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`model` is the path of an ArcFace-class ONNX network and `model_sha256` its hash; empty for the shipped model.

    `threshold` is the least score of a match, as `keyvigil evaluate` recommends it; 0 for that of the parameters.
    `aligned` takes every picture as a face that is aligned already, and is for evaluation only.
    """

    model: str = ""
    model_sha256: str = ""
    threshold: float = 0.0
    aligned: bool = False


class VoiceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`centre` is the path of a site's own centre of voices and `centre_sha256` its hash; empty for the shipped one.

    `threshold` is the least score of a match that the site measured on its own people; 0 for the shipped one.
    """

    centre: str = ""
    centre_sha256: str = ""
    threshold: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)] = 0.0


Settings = FingerprintSettings | FaceSettings | VoiceSettings
