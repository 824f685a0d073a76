"""What the two packages are: which folders, locks, entry points and commands each of them has."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME = Path("usr/lib/keyvigil")
PYTHON = "python3.11"
"""What Debian 12 has; vendored extension modules fit no other."""


@dataclass(frozen=True)
class Program:
    """One package for Debian.

    `folders` are the import packages of ours that it carries, `dropped` vendored files that it leaves out, and `groups`
    the entry-point groups whose entries it keeps, as far as they lie in its folders.
    """

    name: str
    command: str
    cli: str
    folders: tuple[str, ...]
    groups: tuple[str, ...]
    dropped: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """Name of the package."""
        return f"keyvigil-{self.name}"

    @property
    def lock(self) -> Path:
        """The lock file with what it vendors, below the sources."""
        return Path("requirements") / f"{self.name}.txt"

    @property
    def environment(self) -> Path:
        """Its virtual environment, below the root of the target."""
        return HOME / self.name

    @property
    def site(self) -> Path:
        """Where its Python packages are."""
        return self.environment / "lib" / PYTHON / "site-packages"


_MODELS = "face_recognition_models/models"

AGENT = Program(
    name="agent",
    command="keyvigil",
    cli="agent.cli",
    folders=("agent", "drivers", "hal", "protocol"),
    groups=("keyvigil.drivers", "keyvigil.modalities", "keyvigil.key_sinks"),
    # Never loaded (docs/decisions/0001-face-models-through-dlib.md), 100 MB, and not free for every use.
    dropped=(
        f"{_MODELS}/dlib_face_recognition_resnet_model_v1.dat",
        f"{_MODELS}/mmod_human_face_detector.dat",
        f"{_MODELS}/shape_predictor_68_face_landmarks.dat",
    ),
)
AUTHORITY = Program(
    name="authority",
    command="keyvigil-authority",
    cli="authority.cli",
    folders=("authority", "protocol"),
    groups=("keyvigil.kek_providers",),
)
PROGRAMS = {program.name: program for program in (AGENT, AUTHORITY)}


def project(source: Path) -> Mapping[str, Any]:
    """The table `[project]` of the sources' pyproject.toml."""
    table: Mapping[str, Any] = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def entry_points(program: Program, declared: Mapping[str, Mapping[str, str]]) -> str:
    """The text of entry_points.txt: what `program` can load and no more."""
    lines = []
    for group in program.groups:
        entries = {key: value for key, value in declared.get(group, {}).items() if _within(program, value)}
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in sorted(entries.items())), ""]
    return "\n".join(lines)


def _within(program: Program, value: str) -> bool:
    return value.partition(":")[0].partition(".")[0] in program.folders
