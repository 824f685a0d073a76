"""One claimant of a sound card."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

from hal import Busy, DeviceInfo, PermissionDenied

DEVICES = Path("/dev/snd")
_CARD = re.compile(r"hw:(\d+),\d+")


class CardClaim:
    """A lock on a card's control node, held until it is closed.

    The kernel gives a card's own PCM to one program at a time, but only while that records; the lock keeps a second
    opening by us out before. What is shared by its nature (a sound server, a PCM of the ALSA configuration) has no
    card.
    """

    def __init__(self, info: DeviceInfo, devices: Path = DEVICES) -> None:
        """Raises `Busy` when another opening has the card, `PermissionDenied`."""
        self._node: int | None = None
        card = _CARD.fullmatch(info.port)
        path = devices / f"controlC{card[1]}" if card else None
        if path is None or not path.exists():
            return
        try:
            self._node = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            fcntl.flock(self._node, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except PermissionError:
            raise PermissionDenied(f"no permission to open {path}", remedy="Add the user to the group audio.") from None
        except OSError:
            self.close()
            raise Busy(f"microphone {info.name!r} is held by another program") from None

    def close(self) -> None:
        """Give the card back; closing twice is allowed."""
        node, self._node = self._node, None
        if node is not None:
            os.close(node)
