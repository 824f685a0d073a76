"""The person at a simulated node: does what the agent's prompt asks for, in their own manner."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hal import Clock
from simulators.personas import GESTURES, Persona


class Reader(Protocol):
    """Where a finger can be laid."""

    def place(self, pixels: NDArray[np.uint8], dpi: int) -> None:
        """Lay a finger on it."""
        ...

    def lift(self) -> None:
        """Take it away."""
        ...


class Lens(Protocol):
    """What can be looked into."""

    def watch(self, persona: Persona | None, care: float, take: int | None = None) -> None:
        """Put a persona, or nobody, before the camera; `take` numbers the presentation of somebody who is challenged.

        Somebody who is not just looks into it.
        """
        ...

    def ask(self, gesture: str) -> None:
        """Have whoever is there hear that this gesture is wanted."""
        ...


class Ear(Protocol):
    """What can be spoken to."""

    def speak(self, pcm: NDArray[np.int16], rate: int) -> None:
        """Say something that the next listener hears."""
        ...

    def silence(self) -> None:
        """Say nothing."""
        ...


@dataclass(frozen=True)
class Manner:
    """How somebody answers: seconds before they begin, and how carefully (1.0) or sloppily (0.0) they do it."""

    delay_s: float = 0.0
    care: float = 1.0


class Attendant:
    """Keeps one persona, or nobody, at the sensors of a node. Thread safe."""

    def __init__(self, reader: Reader, lens: Lens, ear: Ear, personas: Mapping[str, Persona], clock: Clock) -> None:
        self._reader, self._lens, self._ear = reader, lens, ear
        self._personas = personas
        self._clock = clock
        self._lock = threading.Lock()
        self._persona: Persona | None = None
        self._manner = Manner()
        self._begun = False
        self._touches = 0

    def send(self, name: str | None, manner: Manner) -> None:
        """From now on `name` (or nobody) answers, in this manner; raises `KeyError` for an unknown name."""
        persona = None if name is None else self._personas[name]
        with self._lock:
            self._leave()
            self._persona, self._manner = persona, manner

    def hear(self, message: Mapping[str, Any]) -> bool:
        """React to what the prompt hook of the agent was told; false when nobody is there."""
        with self._lock:
            if self._persona is None:
                return False
            match message.get("kind"):
                case "present":
                    self._act(self._persona, message)
                case "summons" | "result":
                    self._leave()
            return True

    def _act(self, persona: Persona, step: Mapping[str, Any]) -> None:
        if not self._begun and step.get("purpose") == "challenge":
            self._clock.sleep(self._manner.delay_s)
        self._begun = True
        care = self._manner.care
        challenged = step.get("purpose") == "challenge"
        match step["action"]:
            case "place" | "place-second" as place:
                self._touches += 1
                self._reader.place(*persona.finger(self._touches - 1, care, int(place == "place-second")))
            case "lift":
                self._reader.lift()
            case "look":
                self._touches += 1
                self._lens.watch(persona, care, self._touches - 1 if challenged else None)
            case gesture if gesture in GESTURES:
                self._lens.ask(gesture)
            case "speak":
                self._touches += 1
                self._ear.speak(*persona.say(str(step["digits"]), self._touches - 1, care))

    def _leave(self) -> None:
        self._begun = False
        self._lens.watch(None, 1.0)
        self._reader.lift()
        self._ear.silence()
