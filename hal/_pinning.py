"""Code that runs only as it was hashed: whatever came to its package since, or changed, is refused when imported.

The hash is over every file, so that compiled code, models and other data are pinned as well. Python's bytecode caches
are neither hashed nor used: what Python takes for the cache of a source need not come from it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType

from hal._errors import NotFound, PermissionDenied

_CACHE = "__pycache__"


@dataclass(frozen=True)
class PackageCode:
    """The files of a top-level package: path below `root` to SHA-256, in the order of the paths."""

    package: str
    root: Path
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, package: str) -> PackageCode:
        """Read the package without importing it; raises `NotFound`. Folders that are links are not followed."""
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise NotFound(f"the package {package!r} is not installed")
        origin = Path(spec.origin).absolute()
        root = origin.parent
        paths = sorted(root.rglob("*")) if spec.submodule_search_locations else [origin]
        names = {path.relative_to(root): path for path in paths if path.is_file()}
        return cls(package, root, {at.as_posix(): _digest(it) for at, it in names.items() if _CACHE not in at.parts})

    @property
    def sha256(self) -> str:
        """The hash to pin. A plug-in shares code with its neighbours, so its own file alone would pin too little."""
        digest = hashlib.sha256()
        for name, content in self.files.items():
            digest.update(name.encode() + b"\0" + content)
        return digest.hexdigest()

    def pin(self) -> None:
        """From now on modules of this package are imported from exactly these files.

        An import of anything else raises `PermissionDenied`. Modules that were imported before stay.
        """
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        _finder.pinned[self.package] = self

    def checked(self, path: str) -> bytes:
        """Content of one of the files; raises `PermissionDenied` for another file or another content."""
        file = Path(path).absolute()
        name = file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else ""
        content = file.read_bytes()
        if self.files.get(name) != hashlib.sha256(content).digest():
            raise _changed(path)
        return content


class _Source(SourceFileLoader):
    """Compiles what was hashed, whatever lies in the cache."""

    def __init__(self, fullname: str, path: str, code: PackageCode) -> None:
        super().__init__(fullname, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - importlib.abc
        compiled: CodeType = self.source_to_code(self._code.checked(self.path), self.path)
        return compiled


class _Extension(ExtensionFileLoader):
    def __init__(self, fullname: str, path: str, code: PackageCode) -> None:
        super().__init__(fullname, path)
        self._code = code

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self._code.checked(self.path)
        return super().create_module(spec)


class _Refused(Loader):
    """Stands for code of a form that cannot be checked, such as bytecode without a source."""

    def exec_module(self, module: ModuleType) -> None:
        raise _changed(module.__name__)


class _PinnedFinder(MetaPathFinder):
    """Asks the other finders, and has a loader that checks load what they find of a pinned package."""

    def __init__(self) -> None:
        self.pinned: dict[str, PackageCode] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        code = self.pinned.get(fullname.partition(".")[0])
        if code is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((found for found in specs if found is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _loader(fullname, spec.loader, code)
        return spec


def _loader(fullname: str, found: object, code: PackageCode) -> Loader:
    if isinstance(found, SourceFileLoader):
        return _Source(fullname, found.path, code)
    if isinstance(found, ExtensionFileLoader):
        return _Extension(fullname, found.path, code)
    return _Refused()


def _digest(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _changed(what: str) -> PermissionDenied:
    return PermissionDenied(
        f"{what} is not what the configuration pins",
        remedy="If the package was meant to change, put its new hash into the configuration, and start anew.",
    )


_finder = _PinnedFinder()
