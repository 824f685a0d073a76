"""People who type, each in a rhythm of their own.

A model, not a measurement: it has what is known of typing (persons differ in tempo, in how long they hold keys, and
from pair of keys to pair of keys; the same person varies from time to time; keys overlap), and figures from it say how
the code behaves and nothing about real people.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass

_FINGER_S = 0.03
"""From letting a key go to pressing the same one again, at the least."""


@dataclass(frozen=True)
class Move:
    """A key that goes down or up, `at_s` seconds after the person began."""

    at_s: float
    character: str
    pressed: bool


@dataclass(frozen=True)
class Typist:
    """Somebody with a hand of their own; the same name is the same hand."""

    name: str
    unsteadiness: float = 1.0
    """How much their typing varies: 1 is a practised person."""

    def type(self, text: str, repetition: int) -> list[Move]:
        """The moves of typing `text`, then Enter (written as a line feed), for the nth time; ordered by time."""
        noise = random.Random(f"{self.name}/{repetition}/{text}")  # noqa: S311 - a simulation
        tempo = math.exp(noise.gauss(0, 0.05 * self.unsteadiness))
        at, before, moves = 0.0, "", list[Move]()
        released: dict[str, float] = {}
        for character in text + "\n":
            if before:
                at += self._latency(before + character) * tempo * self._vary(noise, 0.13)
                at += 0.12 * noise.random() if noise.random() < 0.02 * self.unsteadiness else 0.0
            at = max(at, released.get(character, 0.0) + _FINGER_S)
            released[character] = up = at + self._hold(character) * self._vary(noise, 0.11)
            moves += [Move(at, character, True), Move(up, character, False)]
            before = character
        return sorted(moves, key=lambda move: move.at_s)

    def _vary(self, noise: random.Random, share: float) -> float:
        return math.exp(noise.gauss(0, share * self.unsteadiness))

    def _latency(self, pair: str) -> float:
        """Seconds from one key to the next: a tempo of this person, shaped by the pair for all and for them."""
        return 0.19 * math.exp(self._trait("tempo", 0.18) + _common(pair, 0.15) + self._trait(f"pair {pair}", 0.16))

    def _hold(self, character: str) -> float:
        return 0.095 * math.exp(self._trait("hold", 0.16) + self._trait(f"key {character}", 0.10))

    def _trait(self, what: str, spread: float) -> float:
        return _normal(f"{self.name}|{what}") * spread


def _common(what: str, spread: float) -> float:
    """What is alike in everybody, such as two keys of one finger in a row."""
    return _normal(f"everybody|{what}") * spread


def _normal(seed: str) -> float:
    """A fixed draw from the standard normal distribution."""
    digest = hashlib.sha256(seed.encode()).digest()
    return random.Random(digest).gauss(0, 1)  # noqa: S311 - a simulation
