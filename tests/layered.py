"""An environment on top of the one that the tests run in: everything that is here, and what a test installs into it."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any


class LayeredEnvironment:
    """A virtual environment in `folder`; nothing is fetched from any network."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (self.packages,) = (folder / "lib").glob("python*/site-packages")
        below = [path for path in sys.path if Path(path).name == "site-packages"] or site.getsitepackages()
        lines = [f"import site; site.addsitedir({path!r})" for path in below]
        (self.packages / "below.pth").write_text("\n".join(lines) + "\n")

    def run(self, *arguments: str, cwd: Path | None = None, timeout: float = 120) -> str:
        """What the interpreter printed on standard output; it must succeed."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [os.fspath(self.python), *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, project: Path) -> None:
        """Build and install the package in `project`, as a person would with `pip install`, from this disk alone.

        setuptools leaves its workings in the folder that it builds from: give it a copy.
        """
        where = ["--target", os.fspath(self.packages)]
        offline = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
        self.run("-m", "pip", "install", *offline, *where, os.fspath(project))

    def keyvigil(self, *arguments: str) -> Any:
        """What a command of `keyvigil` printed as JSON."""
        return json.loads(self.run("-m", "agent.cli", *arguments, "--json"))
