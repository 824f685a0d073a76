"""Presentation and injection attacks that the simulated sensors play, each determined by its seed (ISO/IEC 30107-3).

What an attacker makes of samples that somebody once gave, or of somebody else's. Every function is pure: the same
arguments and the same generator give the same attack. The seeds of the benchmarks that count them are in `seeds`, those
of the face with its species; all were fixed before anything was tuned against them.
"""

from simulators.attacks._face import FACE_SPECIES, REPLAYED, FaceAttack, FaceScene, LiveFace, face_attack

__all__ = ["FACE_SPECIES", "REPLAYED", "FaceAttack", "FaceScene", "LiveFace", "face_attack"]
