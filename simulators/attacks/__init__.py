"""Presentation and injection attacks that the simulated sensors play, each determined by its seed (ISO/IEC 30107-3).

What an attacker makes of samples that somebody once gave, or of somebody else's. Every function is pure: the same
arguments and the same generator give the same attack. Here are the species before a camera that asks for gestures, and
the stage to play them on; copies of what was captured once, disguised, are in `face`, `finger` and `voice`. The seeds
of the benchmarks that count them are in `seeds`, those of the species beside them; all were fixed before anything was
tuned against them.
"""

from simulators.attacks._face_scenes import (
    FACE_SPECIES,
    LIT_SPECIES,
    REPLAYED,
    FaceAttack,
    FaceScene,
    LiveFace,
    face_attack,
)
from simulators.attacks._infrared_scenes import InfraredScene, infrared_attack, live_infrared
from simulators.attacks._stage import FaceStage

__all__ = [
    "FACE_SPECIES",
    "LIT_SPECIES",
    "REPLAYED",
    "FaceAttack",
    "FaceScene",
    "FaceStage",
    "InfraredScene",
    "LiveFace",
    "face_attack",
    "infrared_attack",
    "live_infrared",
]
