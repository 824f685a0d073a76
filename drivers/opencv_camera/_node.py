"""V4L2 capture nodes, `/dev/videoN`."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import cv2

from drivers.opencv_camera._options import CONFIGURE, CameraOptions
from drivers.opencv_camera._source import Capture, Picture, camera_info, check_access
from hal import Busy, Capability, DeviceError, DeviceInfo, Disconnected, PermissionDenied, ProtocolError, Transport

SYSFS = Path("/sys/class/video4linux")
_POLL_NS = 100_000_000
_GREY = frozenset({"GREY", "Y8  ", "Y10 ", "Y12 ", "Y16 "})
# linux/videodev2.h: struct v4l2_format is 208 bytes where pointers have 64 bits.
_FORMAT_BYTES = 208
_VIDIOC_G_FMT = 0xC0D05604
_VIDIOC_S_FMT = 0xC0D05605
_BUF_TYPE_VIDEO_CAPTURE = 1


class Node:
    """One V4L2 node; `sysfs` is where the kernel describes it."""

    def __init__(self, options: CameraOptions, sysfs: Path) -> None:
        self._path = Path(options.source)
        self._format = options.format
        self._streaming = False
        self.info = node_info(self._path, sysfs, options.format.fourcc)

    def is_present(self) -> bool:
        """Whether the node exists."""
        return self._path.exists()

    def start(self) -> Capture:
        """Open and ask for the format; raises `NotFound`, `PermissionDenied`, `Busy`, `ProtocolError`."""
        check_access(self._path, os.R_OK | os.W_OK)
        if not stat.S_ISCHR(self._path.stat().st_mode):
            raise ProtocolError(f"{self._path} is not a device node", remedy=CONFIGURE)
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise _why_refused(self._path)
        for key, value in self._wanted():
            capture.set(key, value)
        return capture

    def _wanted(self) -> list[tuple[int, float]]:
        """Pixel format before size: many cameras offer a size in one pixel format only."""
        asked = self._format
        pairs = [
            (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*asked.fourcc) if asked.fourcc else 0),
            (cv2.CAP_PROP_FRAME_WIDTH, asked.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, asked.height),
            (cv2.CAP_PROP_FPS, asked.fps),
        ]
        return [(key, float(value)) for key, value in pairs if value]

    def grab(self, capture: Capture) -> Picture | None:
        """Poll for 0.1 s, then read; raises `Busy`, `Disconnected`."""
        # Streaming begins with the first grab; a poll before it reports an error.
        if self._streaming and not self._has_picture(capture):
            return None
        good, picture = capture.read()
        if not good:
            raise Disconnected(f"camera {self._path} went away") if self._streaming else _why_refused(self._path)
        self._streaming = True
        return picture  # type: ignore[no-any-return]

    def _has_picture(self, capture: Capture) -> bool:
        try:
            ready = bool(cv2.VideoCapture.waitAny([capture], _POLL_NS)[0])
        except cv2.error:
            # OpenCV fails an assertion when the kernel refuses to hand a buffer out.
            raise Disconnected(f"camera {self._path} went away") from None
        if not ready and not self._path.exists():
            raise Disconnected(f"camera {self._path} was unplugged")
        return ready

    def interval_ns(self, capture: Capture) -> int:  # noqa: ARG002
        """The sensor keeps its own pace."""
        return 0

    def interrupt(self) -> None:
        """Nothing to do: `grab` polls."""

    def finish(self) -> None:
        """The next streaming begins anew."""
        self._streaming = False


def list_nodes(sysfs: Path, devices: Path = Path("/dev")) -> Sequence[DeviceInfo]:
    """Every capture node; the further nodes of one camera (index above 0) carry its metadata, not its pictures."""
    if not sysfs.is_dir():
        return []
    entries = sorted(sysfs.glob("video*"), key=lambda entry: (len(entry.name), entry.name))
    return [node_info(devices / entry.name, sysfs, "") for entry in entries if _attribute(entry / "index") in {"", "0"}]


def node_info(path: Path, sysfs: Path, fourcc: str) -> DeviceInfo:
    """Identity from sysfs: the card's name, and vendor, product and serial when it hangs on USB."""
    entry = sysfs / path.name
    usb = (entry / "device").resolve().parent
    return camera_info(
        Transport.V4L2,
        str(path),
        Capability.INFRARED if fourcc in _GREY else Capability.RGB,
        vendor_id=_attribute(usb / "idVendor"),
        product_id=_attribute(usb / "idProduct"),
        serial=_attribute(usb / "serial"),
        name=_attribute(entry / "name"),
    )


def _attribute(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _why_refused(path: Path) -> DeviceError:
    """Ask the kernel what OpenCV does not tell: set the format that is in force already."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return _from_errno(path, error)
    try:
        wanted = bytearray(_FORMAT_BYTES)
        wanted[0] = _BUF_TYPE_VIDEO_CAPTURE
        fcntl.ioctl(handle, _VIDIOC_G_FMT, wanted)
        fcntl.ioctl(handle, _VIDIOC_S_FMT, wanted)
    except OSError as error:
        return _from_errno(path, error)
    finally:
        os.close(handle)
    return ProtocolError(f"{path} opens but delivers no picture")


def _from_errno(path: Path, error: OSError) -> DeviceError:
    match error.errno:
        case errno.EBUSY:
            return Busy(f"camera {path} is in use by another program")
        case errno.EACCES | errno.EPERM:
            return PermissionDenied(f"no permission to open camera {path}")
        case errno.ENODEV | errno.ENXIO | errno.ENOENT:
            return Disconnected(f"camera {path} went away")
        case _:
            return ProtocolError(f"{path} is not a camera that OpenCV can capture from", remedy=CONFIGURE)
