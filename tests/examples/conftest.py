"""The example, installed as a third party's package is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.layered import LayeredEnvironment

EXAMPLE = ROOT / "examples" / "keyvigil-keystroke"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example's folder."""
    unwanted = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("example") / "project", ignore=unwanted))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, project: Path) -> LayeredEnvironment:
    """An environment in which it is installed."""
    environment = LayeredEnvironment(tmp_path_factory.mktemp("environment"))
    environment.run("pip", "install", ".", cwd=project)
    return environment
