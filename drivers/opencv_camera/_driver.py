"""How to find and open cameras."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cv2

from drivers.opencv_camera._camera import OpenCvCamera
from drivers.opencv_camera._identity import Places, list_nodes
from drivers.opencv_camera._network import Network
from drivers.opencv_camera._node import Node
from drivers.opencv_camera._options import CONFIGURE, CameraOptions
from drivers.opencv_camera._recording import Recording
from drivers.opencv_camera._settling import Settling
from drivers.opencv_camera._source import Source
from hal import Clock, Deadline, DeviceInfo, DeviceKind, SystemClock, Unsupported

_NODE = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/[^/]+)")
_NODE_SETTLE_SECONDS = 2.0


class OpenCvCameraDriver:
    """Cameras of every kind: V4L2 nodes, and what OpenCV reads besides.

    FFMPEG inside OpenCV prints to standard error unless OPENCV_FFMPEG_LOGLEVEL, read at each opening, forbids it; the
    driver sets it to silence where the operator has set nothing, and OpenCV's own log to errors.
    """

    kind = DeviceKind.CAMERA

    def __init__(self, clock: Clock | None = None, places: Places | None = None, open_seconds: float = 10.0) -> None:
        self._clock = clock or SystemClock()
        self._places = places or Places()
        self._open_seconds = open_seconds
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)

    def list(self, options: Mapping[str, Any]) -> Sequence[DeviceInfo]:
        """The V4L2 capture nodes of this machine; first the source that `options` names, if it is there."""
        found = [*list_nodes(self._places)]
        if "source" in options:
            source = self._source(CameraOptions.parse(options))
            if source.is_present() and not any(device.port == source.info.port for device in found):
                found.append(source.info)
            found.sort(key=lambda device: device.port != source.info.port)
        return found

    def open(self, options: Mapping[str, Any], deadline: Deadline | None = None) -> OpenCvCamera:
        """Open the camera and wait at most `open_seconds` for its first picture, exposure settled.

        Raises `NotFound`, `Busy`, `PermissionDenied`, `TimedOut`, `Disconnected`, `ProtocolError`, `Unsupported`.
        """
        chosen = CameraOptions.parse(options)
        source = self._source(chosen)
        settle = chosen.settle_seconds
        if settle is None:
            settle = _NODE_SETTLE_SECONDS if isinstance(source, Node) else 0.0
        camera = OpenCvCamera(source, self._clock, Settling(chosen.warmup_frames, settle, self._clock))
        limit = deadline or Deadline.after(self._open_seconds, self._clock)
        camera.start(limit.within(self._open_seconds))
        return camera

    def _source(self, chosen: CameraOptions) -> Source:
        if _NODE.fullmatch(chosen.source):
            return Node(chosen, self._places)
        if chosen.source.lower().startswith("http://"):
            return Network(chosen)
        if "://" in chosen.source or not chosen.source:
            raise Unsupported(
                "camera option 'source' is no device node, http:// address, file or folder", remedy=CONFIGURE
            )
        return Recording(chosen)
