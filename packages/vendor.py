"""The virtual environment of a package: locked dependencies, our own folders, and the command that starts it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packages.programs import PYTHON, Program, entry_points, project

_LAUNCHER = """#!/{environment}/bin/python3 -I
import sys

from {cli} import main

sys.exit(main())
"""


BUILD_LOCK = Path("requirements/all.txt")
"""Below the sources: the versions of everything that building takes."""
_PIN = re.compile(r"^[A-Za-z0-9][\w.-]*==[\w.+!-]+", re.MULTILINE)


class BuildError(Exception):
    """The package cannot be built; the message says why and what to do."""


def make_environment(program: Program, source: Path, root: Path, version: str) -> None:
    """Fill `root` with the program's environment and command, from the sources in `source`."""
    site = root / program.site
    site.mkdir(parents=True)
    _install_locked(source / program.lock, site, source / BUILD_LOCK)
    for name in program.dropped:
        (site / name).unlink()
    _copy_sources(program, source, site)
    _describe(program, source, site, version)
    _compile(root, site)
    _make_launcher(program, root)


def _install_locked(lock: Path, site: Path, build_lock: Path) -> None:
    """pip refuses what has none of the lock's hashes; what comes as sources is compiled here, never on the target.

    pip's cache is passed over, since it may hold a module that an earlier run compiled otherwise. Without debugging
    information a module tells nothing of the folder that it was compiled in; the tools that compile it have the
    versions of `build_lock`.
    """
    where: list[str | Path] = ["--no-deps", "--require-hashes", "--no-compile", "--target", site, "--requirement", lock]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    with tempfile.TemporaryDirectory(prefix="keyvigil-pins-") as scrap:
        pins = Path(scrap) / "pins.txt"
        pins.write_text("\n".join(_PIN.findall(build_lock.read_text(encoding="utf-8"))) + "\n", encoding="utf-8")
        tools = {"PIP_CONSTRAINT": os.fspath(pins), "PIP_BUILD_CONSTRAINT": os.fspath(pins)}
        _run([sys.executable, "-m", "pip", "install", *quiet, *where], CFLAGS="-g0", **tools)
    shutil.rmtree(site / "bin", ignore_errors=True)


def _copy_sources(program: Program, source: Path, site: Path) -> None:
    """Every file of the program's folders that is under version control."""
    listed = _run(["git", "-C", source, "ls-files", "-z", "--", *program.folders]).split("\0")
    for name in filter(None, listed):
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)


def _describe(program: Program, source: Path, site: Path, version: str) -> None:
    """The distribution's metadata, by which plug-ins and the version are found."""
    table = project(source)
    info = site / f"keyvigil-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.4", "Name: keyvigil", f"Version: {version}"]
    lines += [f"Summary: {table['description']}", f"License-Expression: {table['license']}"]
    (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points(program, table["entry-points"]), encoding="utf-8")
    (info / "INSTALLER").write_text("dpkg\n", encoding="utf-8")


def _compile(root: Path, site: Path) -> None:
    """Byte code that carries no time and no path of this machine; the target could not write it into /usr."""
    options: list[str | Path] = ["-q", "-j1", "--invalidation-mode", "unchecked-hash", "-s", root, "-p", "/"]
    _run([sys.executable, "-m", "compileall", *options, site], PYTHONHASHSEED="0")


def _make_launcher(program: Program, root: Path) -> None:
    binaries = root / program.environment / "bin"
    binaries.mkdir()
    (binaries / "python3").symlink_to("/usr/bin/python3")
    settings = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n"
    (root / program.environment / "pyvenv.cfg").write_text(settings, encoding="utf-8")
    command = root / "usr/bin" / program.command
    command.parent.mkdir(parents=True)
    command.write_text(_LAUNCHER.format(environment=program.environment, cli=program.cli), encoding="utf-8")
    command.chmod(0o755)


def inside(root: Path, program: Program, module: str, *arguments: str) -> str:
    """What a module of these sources prints, run with the packages that were vendored into `root`."""
    path = os.pathsep.join([os.fspath(root / program.site), os.fspath(Path(__file__).resolve().parent.parent)])
    return _run([sys.executable, "-P", "-m", module, *arguments], PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")


def check_interpreter() -> None:
    """Raises `BuildError` under another Python than the target's."""
    running = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if running != PYTHON:
        raise BuildError(f"this is {running}, and the packages are for {PYTHON}: set PYTHON to one")


def _run(command: list[str | Path], **environment: str) -> str:
    try:
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{command[0]} failed: {error.stderr[-2000:]}{error.stdout[-2000:]}") from None
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed") from None
    return done.stdout
