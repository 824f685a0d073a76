"""People for the simulated sensors: fingers, faces and voices that stay the same person from sample to sample."""

from simulators.personas._folder import FolderPersona, folder_personas
from simulators.personas._gestures import GESTURES, Asked
from simulators.personas._light import Light, Room, Shown
from simulators.personas._persona import Persona, PersonaError
from simulators.personas._shipped import ShippedPersona, shipped_personas

__all__ = [
    "GESTURES",
    "Asked",
    "FolderPersona",
    "Light",
    "Persona",
    "PersonaError",
    "Room",
    "ShippedPersona",
    "Shown",
    "folder_personas",
    "shipped_personas",
]
