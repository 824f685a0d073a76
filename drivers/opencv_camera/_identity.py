"""Who a V4L2 node is: what sysfs, udev and the node itself say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.opencv_camera._formats import is_infrared
from drivers.opencv_camera._options import CONFIGURE
from drivers.opencv_camera._source import camera_info
from drivers.opencv_camera._stream import NodeHandle
from drivers.opencv_camera._videodev import NodeCapability
from hal import Capability, DeviceError, DeviceInfo, NotFound, PermissionDenied, ProtocolError, Transport, Unsupported

_LOOPBACK_DRIVERS = frozenset({"v4l2 loopback", "vivid", "vimc", "akvcam", "uvc-gadget"})
_VIRTUAL_FOLDER = "/devices/virtual/"


@dataclass(frozen=True)
class Places:
    """Where the kernel describes video nodes, and where it puts them."""

    sysfs: Path = Path("/sys/class/video4linux")
    devices: Path = Path("/dev")

    def node(self, source: str) -> Path:
        """The node that a name stands for: itself, or the one that udev's link below `v4l/` leads to."""
        path = Path(source)
        return self.devices / path.resolve().name if path.is_symlink() else path

    def stable_name(self, node: Path) -> str:
        """udev's name for the place where the camera is plugged in; the node's own where there is none.

        The numbers of nodes change from one start to the next; that name does not.
        """
        folder = self.devices / "v4l" / "by-path"
        links = sorted(folder.iterdir()) if folder.is_dir() else []
        return next((str(link) for link in links if link.resolve().name == node.name), str(node))


def list_nodes(places: Places) -> Sequence[DeviceInfo]:
    """Every node that captures pictures; metadata, output and encoder nodes are left out.

    A node that may not be opened is listed by what sysfs says, so that a diagnosis can name it.
    """
    if not places.sysfs.is_dir():
        return []
    entries = sorted(places.sysfs.glob("video*"), key=lambda entry: (len(entry.name), entry.name))
    found = (_probe(places.devices / entry.name, places) for entry in entries)
    return [info for info in found if info is not None]


def _probe(path: Path, places: Places) -> DeviceInfo | None:
    try:
        handle = NodeHandle(path)
    except (NotFound, PermissionDenied):
        is_first = _attribute(places.sysfs / path.name / "index") in {"", "0"}
        return node_info(path, places, None) if is_first else None
    except DeviceError:
        return None
    try:
        capability = handle.capability()
        require_capture(path, capability)
        return node_info(path, places, (capability, is_infrared(handle.offered_formats())))
    except PermissionDenied:
        return node_info(path, places, None)
    except DeviceError:
        return None
    finally:
        handle.close()


def require_capture(path: Path, capability: NodeCapability) -> None:
    """Raise `Unsupported` for a camera with separate planes, `ProtocolError` for a node that captures nothing."""
    if capability.captures:
        return
    if capability.multiplanar:
        raise Unsupported(f"camera {path} hands its pictures out in separate planes")
    raise ProtocolError(f"{path} does not capture pictures", remedy=CONFIGURE)


def node_info(path: Path, places: Places, asked: tuple[NodeCapability, bool] | None) -> DeviceInfo:
    """Identity from sysfs: the card's name, and vendor, product and serial when it hangs on USB.

    `asked` is what the node itself told, and whether it is infrared; `None` while it has not been asked. A device
    without a bus (a loopback, a test driver) is announced as virtual: any program may feed it.
    """
    entry = places.sysfs / path.name
    usb = (entry / "device").resolve().parent
    loopback = asked is not None and asked[0].driver in _LOOPBACK_DRIVERS
    virtual = loopback or _VIRTUAL_FOLDER in str(entry.resolve())
    infrared = asked is not None and asked[1]
    return camera_info(
        Transport.VIRTUAL if virtual else Transport.V4L2,
        places.stable_name(path),
        Capability.INFRARED if infrared else Capability.RGB,
        vendor_id=_attribute(usb / "idVendor"),
        product_id=_attribute(usb / "idProduct"),
        serial=_attribute(usb / "serial"),
        name=_attribute(entry / "name") or (asked[0].card if asked else ""),
    )


def _attribute(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
