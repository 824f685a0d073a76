"""Video files and image folders, played once at their own pace like a camera."""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2

from drivers.opencv_camera._options import CONFIGURE, CameraOptions
from drivers.opencv_camera._source import Capture, Shot, camera_info, check_access
from hal import CameraFormat, Capability, Disconnected, NotFound, ProtocolError, Transport, Unsupported

_PATTERN = re.compile(r"[^%]*%0?\d*d[^%]*")
_IMAGES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"})
_FASTEST = 1000.0


class Recording:
    """A video file (FFMPEG), a folder of numbered images, or a pattern such as `faces/%03d.png` (CAP_IMAGES)."""

    def __init__(self, options: CameraOptions) -> None:
        self._given = options.source
        self._fps = options.format.fps
        self._images = "%" in options.source or Path(options.source).is_dir()
        self.info = camera_info(
            Transport.FILE, options.source, Capability.RGB, Capability.SHARED, name=Path(options.source).name
        )
        self._capture: Capture = None

    def is_present(self) -> bool:
        """Whether the file or the folder exists."""
        path = Path(self._given)
        return path.parent.is_dir() if "%" in self._given else path.exists()

    def start(self) -> None:
        """Open; raises `NotFound`, `PermissionDenied`, `Unsupported`, `ProtocolError`."""
        path = self._playable()
        self._capture = capture = (
            cv2.VideoCapture(path, cv2.CAP_IMAGES)
            if self._images
            else cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        )
        if not capture.isOpened():
            raise ProtocolError(
                f"{self._given} holds no video or images that can be decoded",
                remedy="Name a video file, or images that are numbered without gaps.",
            )

    def _playable(self) -> str:
        """What OpenCV is given: a folder becomes its first image, from whose number OpenCV counts on."""
        if "%" in self._given:
            if not _PATTERN.fullmatch(self._given):
                raise Unsupported(f"{self._given!r} is no pattern with one number in it", remedy=CONFIGURE)
            check_access(Path(self._given).parent, os.R_OK | os.X_OK)
            return self._given
        path = Path(self._given)
        check_access(path, os.R_OK)
        return str(_first_image(path)) if path.is_dir() else str(path)

    def grab(self) -> Shot:
        """The next picture; raises `Disconnected` at the end."""
        good, picture = self._capture.read()
        if not good:
            raise Disconnected(f"{self._given} ended", remedy="Open it again to play it from the start.")
        return Shot(picture)

    def interval_ns(self) -> int:
        """From the configured pace, else the file's own, else 15 pictures a second."""
        own = 0.0 if self._images else self._capture.get(cv2.CAP_PROP_FPS)
        return int(1e9 / (self._fps or (own if 0 < own < _FASTEST else CameraFormat().fps)))

    def interrupt(self) -> None:
        """Nothing to do: reading a file does not block."""

    def finish(self) -> None:
        """Close the file."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()


def _first_image(folder: Path) -> Path:
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES)
    if not images:
        raise NotFound(f"{folder} holds no image", remedy="Name a folder of numbered images.")
    return images[0]
