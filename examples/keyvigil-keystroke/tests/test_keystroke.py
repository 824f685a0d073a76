"""The modality: what is captured, what becomes of it, and who is told from whom."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rig
from keyvigil_keystroke.keyboard import BACKSPACE, CHARACTERS, ENTER, KeyEvent
from keyvigil_keystroke.modality import PHRASE, Keystroke, Rhythm
from keyvigil_keystroke.rhythm import Stroke, Template, strokes_of, vector_of
from keyvigil_keystroke_sim.keyboard import SimulatedKeyboard
from keyvigil_keystroke_sim.typist import Typist

from agent.extension import BiometricError, ConfigError, StraySample
from hal import Deadline

CODES = {**CHARACTERS, "\n": ENTER, "\b": BACKSPACE}
ROOT = Path(__file__).parent.parent


def events(typist: str, repetition: int, text: str = PHRASE) -> list[KeyEvent]:
    """What would arrive over a perfect wire."""
    moves = Typist(typist).type(text, repetition)
    return [KeyEvent(CODES[m.character], m.pressed, at, int(m.at_s * 1e9)) for at, m in enumerate(moves, 1)]


def samples(typist: str, count: int = 6, first: int = 0) -> list[Any]:
    pipeline = Keystroke({}).pipeline()
    found = [pipeline.examine(events(typist, first + number), "challenge") for number in range(count)]
    assert all(one.features is not None for one in found), [one.reason for one in found]
    return [one.features for one in found]


@dataclass
class Seat:
    """A sensor whose person types whatever is shown."""

    rig: Rig
    person: str = "ann"
    attempt: int = 1
    purpose: str = "challenge"
    gestures: Sequence[str] = ()
    deadline: Deadline = field(default_factory=lambda: Deadline.after(20))
    told: list[str] = field(default_factory=list)

    def digits(self) -> str:
        return "1234"

    def tell(self, action: str, instruction: str, **_more: Any) -> None:
        self.told.append(f"{action}: {instruction}")
        self.rig.model.type(Typist(self.person).type(PHRASE, len(self.told)))

    def use(self, work: Callable[[Any], Any], on_return: Callable[[], None] | None = None) -> Any:
        with self.rig.open() as keyboard:
            return work(keyboard)

    def release(self) -> None:
        pass


def test_the_phrase_is_shown_and_taken_down_to_enter(rig: Rig) -> None:
    seat = Seat(rig)
    captures = Keystroke({}).captures(seat)  # type: ignore[arg-type]
    for _ in range(2):
        taken = next(captures)
        assert strokes_of(taken).text == PHRASE
        assert (taken[-1].code, taken[-1].pressed) == (ENTER, False)
    assert seat.told == [f"type: Type in your usual manner: {PHRASE} and press Enter."] * 2


def test_the_rhythm_survives_the_wire(tmp_path: Path) -> None:
    """In real time: what arrives is what was typed, but for the time that a thread takes to wake."""
    phrase = "one two three"
    moves = Typist("ann").type(phrase, 1)
    meant = vector_of(strokes_of(events("ann", 1, phrase)).strokes)
    with SimulatedKeyboard(tmp_path / "keyboard") as model:
        from keyvigil_keystroke.driver import Ps2SerialDriver

        rig = Rig(model, Ps2SerialDriver())
        with rig.open() as keyboard:
            stream = keyboard.events(Deadline.after(20), lambda: model.type(moves, reaction_s=0.1))
            taken = [next(stream) for _ in moves]
            stream.close()
    assert np.median(np.abs(vector_of(strokes_of(taken).strokes) - meant)) < 25


def test_features_are_holds_and_latencies() -> None:
    strokes = [Stroke(1, 0, 90_000_000), Stroke(2, 150_000_000, 230_000_000), Stroke(3, 200_000_000, 340_000_000)]
    assert vector_of(strokes).tolist() == [90, 80, 140, 150, 50]
    assert Rhythm(vector_of(strokes)).to_bytes() == bytes.fromhex("5a00 5000 8c00 9600 3200")


def test_a_held_key_that_repeats_is_one_stroke() -> None:
    held = [KeyEvent(0x1C, True, n, n * 10) for n in range(5)] + [KeyEvent(0x1C, False, 6, 99)]
    assert strokes_of(held).strokes == (Stroke(0x1C, 0, 99),)


def test_the_same_hand_is_accepted_and_another_is_not() -> None:
    pipeline, people = Keystroke({}).pipeline(), ("ann", "bob", "cyd", "dee", "eli")
    templates = {name: pipeline.enrol(samples(name)) for name in people}
    probes = {name: samples(name, 8, first=20) for name in people}
    own = [pipeline.match(templates[name], one) for name in people for one in probes[name]]
    other = [pipeline.match(templates[a], one) for a in people for b in people if a != b for one in probes[b]]
    assert sum(match.accepted for match in own) >= 0.9 * len(own)
    assert sum(match.accepted for match in other) <= 0.05 * len(other)
    assert all(match.margin == 0 for match in other if not match.accepted)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("still waters run deap", "exactly"), ("still waters run dee\bep", "in one go"), ("", "exactly")],
)
def test_another_text_is_refused_with_something_to_do(text: str, hint: str) -> None:
    found = Keystroke({}).pipeline().examine(events("ann", 1, text), "challenge")
    assert found.features is None
    assert hint in found.reason


def test_a_pause_is_refused_and_a_smaller_one_costs_quality() -> None:
    pipeline = Keystroke({}).pipeline()

    def paused(seconds: float) -> Any:
        moved = [
            KeyEvent(one.code, one.pressed, one.sequence, one.at_ns + int(seconds * 1e9) * (one.sequence > 20))
            for one in events("ann", 1)
        ]
        return pipeline.examine(moved, "challenge")

    assert paused(0).quality > paused(0.6).quality > 0
    assert paused(2).features is None


def test_a_sample_of_another_hand_is_named_at_enrolment() -> None:
    mixed = samples("ann")
    mixed[3] = samples("bob", 1)[0]
    with pytest.raises(StraySample) as stray:
        Keystroke({}).pipeline().enrol(mixed)
    assert stray.value.index == 3


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"[[1]]", b"\xff", b'["a", "b"]', b"[[1, 2, 3], [1, 2, 99999]]", b"["]
)
def test_a_damaged_template_is_a_biometric_error(data: bytes) -> None:
    with pytest.raises(BiometricError):
        Keystroke({}).pipeline().match(data, samples("ann", 1)[0])
    with pytest.raises(BiometricError):
        Template.from_bytes(data, 3)


def test_another_phrase_is_another_model() -> None:
    models = {Keystroke({"phrase": phrase}).pipeline().model.model for phrase in (PHRASE, "other words", "other word")}
    assert len(models) == 3


@pytest.mark.parametrize(
    "options", [{"phrase": "short"}, {"phrase": "Upper Case"}, {"phrase": 3}, {"samples": 1}, {"tries": True}, {"x": 1}]
)
def test_wrong_options_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        Keystroke(options)


def test_simulated_hands_differ_more_than_one_hand_does() -> None:
    def at(name: str, repetition: int) -> list[float]:
        return [move.at_s for move in Typist(name).type(PHRASE, repetition)]

    assert at("ann", 1) == at("ann", 1)
    assert at("ann", 1) != at("ann", 2)
    assert all(a <= b for a, b in pairwise(at("ann", 1)))


def imports(package: str) -> set[str]:
    """Every module that a package of this distribution imports."""
    found: set[str] = set()
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return found


def test_the_package_knows_hal_and_the_extension_alone_and_the_simulator_not_even_those() -> None:
    def foreign(package: str) -> set[str]:
        return {name for name in imports(package) if name.partition(".")[0] not in {*sys.stdlib_module_names, package}}

    assert foreign("keyvigil_keystroke") == {"agent.extension", "hal", "numpy", "numpy.typing"}
    assert foreign("keyvigil_keystroke_sim") == set()
