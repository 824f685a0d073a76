"""Presentation and injection attacks that the simulated sensors play, each determined by its seed (ISO/IEC 30107-3)."""

from simulators.attacks._face import FACE_SPECIES, REPLAYED, FaceAttack, FaceScene, LiveFace, face_attack

__all__ = ["FACE_SPECIES", "REPLAYED", "FaceAttack", "FaceScene", "LiveFace", "face_attack"]
