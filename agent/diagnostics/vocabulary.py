"""Free text cut down to words that Keyvigil's own source says: an allow-list for what came from anywhere."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("agent", "hal", "drivers", "protocol")
LEFT_OUT = "…"
"""Stands for a word that is not ours; every number becomes `NUMBER`."""
NUMBER = "#"

_LETTERS = re.compile(r"[A-Za-z]+")
_REPEATED = re.compile(rf"{LEFT_OUT}(\s*{LEFT_OUT})+")


class Vocabulary:
    """Knows words in any case; a text passes word by word."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(word.lower() for word in words)

    def __contains__(self, word: str) -> bool:
        return word.lower() in self._words

    def cut(self, text: str) -> str:
        """`text` with every unknown word replaced by `LEFT_OUT` and every number by `NUMBER`."""
        parts = [self._part(run) for run in text.split()]
        return _REPEATED.sub(LEFT_OUT, " ".join(parts))

    def _part(self, run: str) -> str:
        """One run without blanks; letters mixed with digits or signs stand or fall together."""
        core = run.strip(".,;:!?()\"'`[]")
        if not core:
            return LEFT_OUT if len(run) > 2 else run
        return run.replace(core, self._core(core), 1) if run.count(core) == 1 else self._core(core)

    def _core(self, core: str) -> str:
        if not any(char.isalpha() for char in core):
            return NUMBER if any(char.isdigit() for char in core) else LEFT_OUT if len(core) > 2 else core
        words = re.split(r"[-/_=:]", core)
        known = all(not word or (word.isalpha() and word in self) for word in words)
        return core if known else LEFT_OUT


@cache
def own_vocabulary() -> Vocabulary:
    """Every word in the texts of the installed packages of Keyvigil, and in the system's error messages."""
    system = " ".join(os.strerror(number) for number in errno.errorcode)
    return Vocabulary([*_LETTERS.findall(system), *(word for file in _sources() for word in _words_of(file))])


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            yield from Path(folder).rglob("*.py")


def _words_of(file: Path) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _LETTERS.findall(node.value)
