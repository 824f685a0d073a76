"""What an error of the kernel means for a screen."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hal import Busy, DeviceError, Disconnected, NotFound, PermissionDenied, Unsupported

_ACCESS = "Add the service user to the group video, or install the drop-in screen.conf that ships with Keyvigil."
_MISSING = "Boot with a console on the screen (a driver of the kernel with fbdev emulation), or leave out [display]."


@contextmanager
def mapped_errors(what: str) -> Iterator[None]:
    """Raise every `OSError` as one of `hal`."""
    try:
        yield
    except OSError as error:
        reason = f"{what}: {os.strerror(error.errno or 0)}"
        match error.errno:
            case errno.ENOENT | errno.ENXIO | errno.ENOTDIR:
                raise NotFound(reason, remedy=_MISSING) from None
            case errno.EACCES | errno.EPERM:
                raise PermissionDenied(reason, remedy=_ACCESS) from None
            case errno.EWOULDBLOCK | errno.EBUSY:
                raise Busy(reason, remedy="Another program lights the screen; wait until it has ended.") from None
            case errno.ENODEV | errno.EIO:
                raise Disconnected(reason) from None
            case errno.ENOTTY | errno.EINVAL:
                raise Unsupported(reason, remedy="Name a framebuffer of the kernel, such as /dev/fb0.") from None
            case _:
                raise DeviceError(reason) from None
