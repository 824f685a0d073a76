"""The programs that try packages: what they say of bad calls, and (long, as root) each to its end."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRIALS = {
    "try-packages": ("debootstrap", "swtpm_setup", "dpkg-deb"),
    "boot-packages": ("debootstrap", "linux.uml", "mke2fs", "depmod", "swtpm_setup", "dpkg-deb"),
    "try-container": ("debootstrap", "podman", "swtpm_setup", "dpkg-deb"),
}
"""What tries packages in fresh systems, and the programs that each needs."""
ARRIVED = {
    "try-packages": "agent.start_to_attestation_s",
    "boot-packages": "boot_to_attestation_s",
    "try-container": "start_to_attestation_s",
}
"""What each measures once a node has attested."""
HOUR_S = 3600


def run(tool: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command, nothing = [str(folder / "tools" / tool), *arguments], subprocess.DEVNULL
    return subprocess.run(command, capture_output=True, text=True, timeout=HOUR_S, check=False, stdin=nothing)


@pytest.fixture
def without_packages(tmp_path: Path) -> Path:
    """A checkout that has built no package."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    return tmp_path


@pytest.mark.parametrize("tool", TRIALS)
def test_an_option_that_it_does_not_know_ends_it_with_its_usage(tool: str) -> None:
    done = run(tool, "--bass", "/nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: tools/{tool}")


@pytest.mark.parametrize("tool", TRIALS)
def test_without_packages_it_says_how_to_build_them(tool: str, without_packages: Path) -> None:
    needed(tool)
    done = run(tool, folder=without_packages)
    assert done.returncode == 1
    assert "run tools/build-packages" in done.stderr
    assert done.stdout == ""


@pytest.fixture(scope="module")
def built() -> None:
    """`dist/` with both packages of this state."""
    done = run("build-packages")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(HOUR_S)
def test_packages_of_a_commit_are_the_same_wherever_they_are_built() -> None:
    done = run("reproduce-packages", "authority")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert len(line.split()[0]) == 64


@pytest.mark.slow
@pytest.mark.timeout(HOUR_S)
@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("tool", TRIALS)
def test_a_node_attests_from_packages_in_a_fresh_system(tool: str, tmp_path: Path) -> None:
    needed(tool)
    done = run(tool, "--work", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    measured = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert float(measured[ARRIVED[tool]]) > 0


def needed(tool: str) -> None:
    """Skips where the machine cannot run the trial."""
    if os.geteuid() != 0:
        pytest.skip(f"tools/{tool} makes and enters roots: run as root")
    if missing := [program for program in TRIALS[tool] if shutil.which(program) is None]:
        pytest.skip(f"tools/{tool} needs {', '.join(missing)}")
