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

OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one as "build isolation: no"
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}
"""Makes `pip install .` build and install from this disk alone."""


class LayeredEnvironment:
    """A virtual environment in `folder`; nothing is fetched from any network."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (self.packages,) = (folder / "lib").glob("python*/site-packages")
        below = [path for path in sys.path if Path(path).name == "site-packages"] or site.getsitepackages()
        lines = [f"import site; site.addsitedir({path!r})" for path in below]
        (self.packages / "below.pth").write_text("\n".join(lines) + "\n")
        for name, module in (("pip", "pip"), ("keyvigil", "agent.cli")):
            script = self.python.with_name(name)
            script.write_text(f'#!/bin/sh\nexec "{self.python}" -m {module} "$@"\n')
            script.chmod(0o755)

    def run(self, *command: str, cwd: Path | None = None, given: str = "", timeout: float = 120) -> str:
        """What a command of the environment printed, `given` on its standard input; it must succeed."""
        done = subprocess.run(
            [os.fspath(self.python.with_name(command[0])), *command[1:]],
            cwd=cwd,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | OFFLINE,
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def keyvigil(self, *arguments: str) -> Any:
        """What a command of `keyvigil` printed as JSON."""
        return json.loads(self.run("keyvigil", *arguments, "--json"))
