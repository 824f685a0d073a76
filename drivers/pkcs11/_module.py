"""The PKCS#11 library of a token: loaded once in a process, entered by one thread alone."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pkcs11
from pkcs11 import exceptions as ck

from drivers.pkcs11._errors import translate
from drivers.worker import Worker
from hal import Busy, NotFound, PermissionDenied, Unsupported

Result = TypeVar("Result")
Environment = tuple[tuple[str, str], ...]

_INSTALL = (
    "Install the token's module and name its path in `module`: apt-get install opensc-pkcs11 (smart cards), "
    "libckteec0 (OP-TEE), softhsm2 (software, for tests)."
)


class Module:
    """One library with its thread and its users: initialised for the first one, finalised after the last.

    The state of a library is one for the whole process, and without locks of our own only one thread may call it
    (PKCS #11 2.40, 5.4, C_Initialize): all its tokens share a thread, which lives as long as the process. When one
    token stalls, the others of that library wait with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._worker = Worker(f"PKCS#11 module {path.name}")
        self._users = 0
        self._library: Any = None
        self._environment: Environment = ()

    def call(self, what: str, work: Callable[[], Result], seconds: float) -> Result:
        """Do `work` on the library's thread; raises `TimedOut`, `Disconnected` in a forked process."""
        return self._worker.call(what, work, seconds)

    def post(self, work: Callable[[], None], seconds: float) -> None:
        """Queue `work`, to tidy up, and wait up to `seconds` for it."""
        with suppress(TimeoutError):
            self._worker.post(work).result(seconds)

    def enter(self, environment: Environment) -> Any:
        """The library, initialised, with one user more; on the library's thread only.

        Raises `Busy` when it runs with another environment, `Unsupported` when it is no PKCS#11 module, and
        `PermissionDenied` when it does not start: modules say no more than "general error" of what they cannot read.
        """
        if self._library is None:
            self._initialise(environment)
        elif environment != self._environment:
            raise Busy(
                f"{self._path} is in use in this process with another environment",
                remedy="Give every token of one module the same `environment`.",
            )
        self._users += 1
        return self._library

    def exit(self) -> None:
        """One user less, and the end of the library after the last; on the library's thread only."""
        self._users -= 1
        if self._users == 0:
            self._finalise()

    def _initialise(self, environment: Environment) -> None:
        os.environ.update(environment)
        try:
            library = pkcs11.lib(str(self._path))
            if _inherited.pop(str(self._path), False):
                library.reinitialize()
        except ck.PKCS11Error as error:
            raise self._unusable(error) from None
        self._library, self._environment = library, environment

    def _unusable(self, error: ck.PKCS11Error) -> Exception:
        if type(error) is ck.PKCS11Error:
            return Unsupported(f"{self._path} is no PKCS#11 module for this machine", remedy=_INSTALL)
        if isinstance(error, ck.GeneralError | ck.FunctionFailed):
            return PermissionDenied(
                f"the PKCS#11 module {self._path} does not start ({type(error).__name__})",
                remedy="Let the service user read the module's configuration and the token's store or device.",
            )
        return translate(error, "starting the module")

    def _finalise(self) -> None:
        library, self._library = self._library, None
        if library is not None:
            with suppress(ck.PKCS11Error):
                library.finalize()


_modules: dict[str, Module] = {}
_inherited: dict[str, bool] = {}
_lock = threading.Lock()


def module(path: Path) -> Module:
    """The library at `path`, not yet loaded.

    Raises `NotFound` when there is no such file, `PermissionDenied` when others may change what would run here.
    """
    real = path.resolve()
    try:
        found = real.stat()
    except OSError:
        found = None
    if found is None or not stat.S_ISREG(found.st_mode):
        raise NotFound(f"there is no PKCS#11 module {path}", remedy=_INSTALL)
    if found.st_mode & 0o022 or found.st_uid not in {0, os.geteuid()}:
        raise PermissionDenied(
            f"the PKCS#11 module {real} may be changed by others",
            remedy=f"Run `chown root {real} && chmod go-w {real}`.",
        )
    with _lock:
        if str(real) not in _modules:
            _modules[str(real)] = Module(real)
        return _modules[str(real)]


def _start_anew_in_child() -> None:
    """Threads and the library's state are the parent's: the child initialises for itself (PKCS #11 2.40, 5.4)."""
    global _lock  # noqa: PLW0603 - the parent may have held it while it forked
    _lock = threading.Lock()
    _inherited.update({path: one._library is not None for path, one in _modules.items()})
    _modules.clear()


os.register_at_fork(after_in_child=_start_anew_in_child)
