"""Builds the packages for Debian: `tools/build-packages [agent] [authority] [--out FOLDER] [--revision N]`.

The same sources, wheels and SOURCE_DATE_EPOCH (by default the time of the last commit) give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import string
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from packages.completion import SHELLS
from packages.programs import PROGRAMS, Program, project
from packages.vendor import BuildError, check_interpreter, inside, make_environment

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "packages"
_SCRIPTS = ("postinst", "prerm", "postrm")


def build(program: Program, source: Path, out: Path, revision: str, when: int) -> Path:
    """Build one package from `source` into `out`; its path. `when` is the POSIX time of everything in it."""
    version = str(project(source)["version"])
    with tempfile.TemporaryDirectory(prefix="keyvigil-package-") as scrap:
        root = Path(scrap) / "root"
        shutil.copytree(HERE / program.name / "root", root)
        make_environment(program, source, root, version)
        _add_documents(program, source, root, when)
        _add_control(program, root, f"{version}-{revision}")
        _set_modes(root)
        return _pack(program, root, out, f"{version}-{revision}", when)


def _add_documents(program: Program, source: Path, root: Path, when: int) -> None:
    """Manual page, completions, bill of materials, notices, change log; the udev rules are documents of the agent."""
    os.environ["SOURCE_DATE_EPOCH"] = str(when)
    man = inside(root, program, "packages.manual", program.cli, program.command)
    _write(root / f"usr/share/man/man1/{program.command}.1.gz", _gzip(man.encode()))
    for shell, place in SHELLS.items():
        text = inside(root, program, "packages.completion", program.cli, program.command, shell)
        _write(root / place.format(name=program.command), text.encode())
    documents = root / "usr/share/doc" / program.package
    site = os.fspath(root / program.site)
    sbom = inside(root, program, "packages.sbom", program.name, "--source", os.fspath(source), "--site", site)
    _write(documents / f"{program.package}.cdx.json", sbom.encode())
    _write(documents / "copyright", _copyright(program, source, root).encode())
    changes = source / "CHANGELOG.md"
    _write(documents / "changelog.gz", _gzip(changes.read_bytes() if changes.exists() else b"No change log.\n"))
    if "agent" in program.folders:
        rules = source / "agent/data/60-keyvigil.rules"
        _write(root / "usr/lib/udev/rules.d/60-keyvigil.rules", rules.read_bytes())
        for notice in ("NOTICE", "LICENSE.campplus", "LICENSE.leader"):
            _write(documents / notice, (source / "agent/models" / notice).read_bytes())


def _copyright(program: Program, source: Path, root: Path) -> str:
    """Keyvigil's licence, and where the licence of each vendored package lies."""
    lines = [f"Keyvigil is under {project(source)['license']}.", "", (source / "LICENSE").read_text(encoding="utf-8")]
    lines += ["", "Vendored, each with its licence in its own folder *.dist-info below", f"/{program.site}:", ""]
    found = {f"{each.name} {each.version}" for each in distributions(path=[os.fspath(root / program.site)])}
    lines += [f"  {name}" for name in sorted(found, key=str.lower) if not name.startswith("keyvigil ")]
    return "\n".join(lines) + "\n"


def _set_modes(root: Path) -> None:
    """What is executable stays so; everything is readable, whatever the umask was."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _add_control(program: Program, root: Path, version: str) -> None:
    control, own = root / "DEBIAN", HERE / program.name
    sums = "".join(f"{digest}  {name}\n" for name, digest in _sums(root))
    size = _installed_kib(root)
    control.mkdir()
    architecture = _say(["dpkg", "--print-architecture"])
    values = {"version": version, "architecture": architecture, "size": size}
    text = string.Template((own / "control").read_text(encoding="utf-8")).substitute(values)
    _write(control / "control", text.encode())
    _write(control / "md5sums", sums.encode())
    _write(control / "templates", (own / "templates").read_bytes())
    settings = sorted(path for path in (root / "etc").rglob("*") if path.is_file())
    _write(control / "conffiles", "".join(f"/{path.relative_to(root)}\n" for path in settings).encode())
    for script in _SCRIPTS:
        _write(control / script, (own / script).read_bytes())
        (control / script).chmod(0o755)


def _installed_kib(root: Path) -> int:
    """As deb-substvars(5) counts: what a folder itself takes depends on the file system of the builder."""
    return sum(-(-path.stat().st_size // 1024) if _regular(path) else 1 for path in root.rglob("*"))


def _sums(root: Path) -> Iterator[tuple[str, str]]:
    """MD5 sums as dpkg wants them, against damage and not against malice."""
    for path in sorted(root.rglob("*")):
        if _regular(path):
            digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            yield path.relative_to(root).as_posix(), digest


def _regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _pack(program: Program, root: Path, out: Path, version: str, when: int) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (when, when), follow_symlinks=False)
    file = out / f"{program.package}_{version}_{_say(['dpkg', '--print-architecture'])}.deb"
    options = ["--root-owner-group", "--threads-max=1", "-Zzstd", "-z3"]
    _say(["dpkg-deb", *options, "--build", os.fspath(root), os.fspath(file)], SOURCE_DATE_EPOCH=str(when))
    return file


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _say(command: list[str], **environment: str) -> str:
    try:
        done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not here: packages for Debian are built on Debian") from None
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{command[0]} failed: {error.stderr.strip()}") from None
    return done.stdout.strip()


def _last_commit(source: Path) -> int:
    stated = os.environ.get("SOURCE_DATE_EPOCH")
    return int(stated or _say(["git", "-C", os.fspath(source), "log", "-1", "--format=%ct"]))


def main() -> int:
    """Build what the arguments name, by default both; the paths go to standard output."""
    parser = argparse.ArgumentParser(prog="tools/build-packages", description=__doc__)
    parser.add_argument("programs", nargs="*", metavar="agent|authority")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the packages (dist)")
    parser.add_argument("--revision", default="1", help="Debian revision")
    parser.add_argument("--source", type=Path, default=ROOT, help="a checkout to build from, by default this one")
    chosen = parser.parse_args()
    if unknown := set(chosen.programs) - set(PROGRAMS):
        parser.error(f"no such package: {', '.join(sorted(unknown))}; there are {', '.join(sorted(PROGRAMS))}")
    try:
        check_interpreter()
        for name in chosen.programs or sorted(PROGRAMS):
            made = build(PROGRAMS[name], chosen.source, chosen.out, chosen.revision, _last_commit(chosen.source))
            sys.stdout.write(f"{made} {made.stat().st_size} bytes\n")
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
