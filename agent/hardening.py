"""What every command does first, so that secrets in memory do not reach the disk or other processes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal

_PR_SET_DUMPABLE = 4


def harden_process() -> None:
    """No core dump, no ptrace by the user's other processes (prctl(2)), new files private.

    A file-size limit then shows as the error EFBIG instead of killing the process.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def wipe(secret: bytearray | bytes) -> None:
    """Overwrite a secret in place; copies that the interpreter made elsewhere are beyond reach.

    Libraries give secrets as `bytes`, whose content CPython keeps right behind the object's header. Nobody else may
    have a use for the object: it changes under them.
    """
    if isinstance(secret, bytearray):
        secret[:] = bytes(len(secret))
    elif len(secret) > 1:  # shorter ones are shared by the whole interpreter
        ctypes.memset(id(secret) + bytes.__basicsize__ - 1, 0, len(secret))
