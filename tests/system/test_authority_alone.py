"""The authority installs and runs where no device or learning package is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FORBIDDEN = ("cv2", "dlib", "librosa", "nbis", "numpy", "onnxruntime", "scipy", "skimage", "sounddevice")
FORBIDDEN = (*FORBIDDEN, "tpm2_pytss", "usb")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the authority's lock file and this project, without its other extras."""
    folder = tmp_path_factory.mktemp("authority-alone")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*install, "--require-hashes", "-r", ROOT / "requirements/authority.txt"], check=True)
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # of an earlier state: its files would be installed as well
    subprocess.run([*install, ROOT], check=True, cwd=folder)
    return folder


@pytest.mark.system
@pytest.mark.timeout(400)
def test_the_authority_runs_without_device_and_learning_packages(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin/keyvigil-authority"
    made = subprocess.run(
        [command, "init", "--name", "localhost", "--state", tmp_path / "state", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(json.loads(made.stdout)["operator_token"]).is_file()
    probe = "import importlib.util as u, sys, authority.service; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    found = subprocess.run(
        [environment / "bin/python", "-c", probe, *FORBIDDEN], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.system
def test_the_full_environment_has_them_so_the_probe_can_tell() -> None:
    probe = "import importlib.util as u, sys; print(len([n for n in sys.argv[1:] if u.find_spec(n)]))"
    found = subprocess.run([sys.executable, "-c", probe, *FORBIDDEN], check=True, capture_output=True, text=True)
    assert int(found.stdout) == len(FORBIDDEN)
