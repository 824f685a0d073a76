"""Which of the pixel formats that a camera offers is streamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drivers.opencv_camera._options import CONFIGURE
from drivers.opencv_camera._pixels import COLOUR_FORMATS, GREY_FORMATS
from hal import CameraFormat, Unsupported


def is_infrared(offered: Sequence[str]) -> bool:
    """Whether the sensor behind these formats sees no colour: it offers grey, and nothing else that is a picture."""
    return any(name in GREY_FORMATS for name in offered) and not any(name in COLOUR_FORMATS for name in offered)


def choose(asked: CameraFormat, offered: Sequence[str], reaches: Callable[[str], bool]) -> str:
    """The configured format, else the most preferred one that `reaches` size and frame rate, else the most preferred.

    An uncompressed picture is worth more than a compressed one, but USB 2 carries only small ones at full rate: a
    camera says so by offering size and rate in MJPG alone. Raises `Unsupported`.
    """
    if asked.fourcc:
        if asked.fourcc not in offered:
            raise Unsupported(
                f"the camera does not offer {asked.fourcc!r}; it offers {', '.join(offered) or 'nothing'}",
                remedy=CONFIGURE,
            )
        return asked.fourcc
    known = [name for name in (*COLOUR_FORMATS, *GREY_FORMATS) if name in offered]
    if not known:
        raise Unsupported(f"the camera offers no pixel format that is understood, only {', '.join(offered) or 'none'}")
    return next((name for name in known if reaches(name)), known[0])
