"""The folder `<subject>/<samples>` of an evaluation: which subjects and files there are, and what is left aside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.evaluation.errors import EvaluationError


@dataclass(frozen=True)
class SubjectFolder:
    """One person, or one finger of a person, and the files of their samples in natural order."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Folder:
    """What was found; `ignored` counts, per reason, what is no sample."""

    name: str
    subjects: tuple[SubjectFolder, ...]
    ignored: dict[str, int]


def read_folder(path: Path, suffixes: Collection[str]) -> Folder:
    """The subjects in `path` and their files with one of `suffixes`; raises `EvaluationError`.

    Hidden entries, folders in folders and other kinds of file are no samples; a subject may turn out to have none.
    """
    ignored: Counter[str] = Counter()
    subjects = []
    for entry in _entries(path):
        if entry.name.startswith("."):
            ignored["hidden"] += 1
        elif not entry.is_dir():
            ignored["beside the subjects' folders"] += 1
        else:
            subjects.append(SubjectFolder(entry.name, tuple(_samples(entry, suffixes, ignored))))
    if not any(subject.files for subject in subjects):
        kinds = ", ".join(sorted(suffixes))
        raise EvaluationError(f"{path} holds no subject's folder with samples ({kinds})")
    return Folder(path.resolve().name, tuple(subjects), dict(ignored))


def _samples(folder: Path, suffixes: Collection[str], ignored: Counter[str]) -> Iterable[Path]:
    for entry in _entries(folder):
        if entry.name.startswith("."):
            ignored["hidden"] += 1
        elif not entry.is_file():
            ignored["no file"] += 1
        elif entry.suffix.lower() not in suffixes:
            ignored[f"{entry.suffix.lower() or 'no suffix'}"] += 1
        else:
            yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=_natural)
    except FileNotFoundError:
        raise EvaluationError(
            f"{folder} does not exist", remedy="Name the folder that holds the subjects' folders."
        ) from None
    except OSError as error:
        raise EvaluationError(f"{folder} cannot be listed: {error.strerror}", remedy="Check its permissions.") from None


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Order in which 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name
