"""One claimant for each token of a machine: the kernel keeps the name of a socket, and drops it with the process."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import weakref
from contextlib import suppress

from hal import Busy, DeviceError

_open: weakref.WeakSet[Claim] = weakref.WeakSet()


class Claim:
    """The right to use one token; `release` gives it back.

    An abstract UNIX address (unix(7)) can be bound once in a network namespace. It needs no file, no right to write
    anywhere, and nothing is left of it after a crash. Programs other than Keyvigil do not heed it.
    """

    def __init__(self, token: str) -> None:
        """Claim the token with this identity; raises `Busy`."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(b"\0keyvigil/pkcs11/" + hashlib.sha256(token.encode()).hexdigest().encode())
        except OSError as error:
            self._socket.close()
            if error.errno == errno.EADDRINUSE:
                raise Busy("the PKCS#11 token is in use by another program of Keyvigil") from None
            raise DeviceError(f"the PKCS#11 token cannot be claimed: {error.strerror}") from None
        _open.add(self)

    def release(self) -> None:
        """Give the token back; doing so twice is allowed."""
        self._socket.close()


def _forget_in_child() -> None:
    """A forked process inherits the descriptors, and would keep its parent's tokens claimed."""
    for claim in [*_open]:
        with suppress(OSError):
            claim.release()


os.register_at_fork(after_in_child=_forget_in_child)
