"""The tree of files that programs under umockdev see in place of /dev and /sys, and the camera behind it."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from simulators.devices.faults import Fault, FaultOrder
from simulators.devices.v4l2._camera import MAX_BUFFERS, Identity, V4l2Camera
from simulators.devices.v4l2._file import CameraFile
from simulators.devices.v4l2._modes import Offer, Size
from simulators.devices.v4l2._optics import INSTANT, Optics
from simulators.devices.v4l2._wire import IoctlServer

PRELOAD = "libumockdev-preload.so.0"
_MAJOR = 81
_SOCKET_PATH_BYTES = 100


class V4l2Testbed:
    """A camera at `/dev/videoN` for every program that `run` starts; a context manager.

    `format` and `size` (height, width) come first in what the camera offers, `formats` and `sizes` after them. Without
    `instant` the exposure settles, frames are noisy and take time to arrive, as `optics` says.
    """

    def __init__(  # noqa: PLR0913
        self,
        format: str = "YUYV",
        size: Size = (480, 640),
        fps: float = 30.0,
        *,
        formats: Sequence[str] = (),
        sizes: Sequence[Size] = (),
        optics: Optics | None = None,
        identity: Identity | None = None,
        seed: int = 0,
        instant: bool = False,
        number: int = 0,
    ) -> None:
        offer = Offer(_unique(format, formats), _unique(size, sizes), [fps])
        self.camera = V4l2Camera(offer, INSTANT if instant else optics or Optics(), identity)
        self.camera.reseed(seed)
        self.camera.on_plug = self._plug
        self.camera.on_permission = self._permit
        self.number = number
        self._root = Path(tempfile.mkdtemp(prefix="kv-v4l2-"))
        self._memory: mmap.mmap | None = None
        try:
            self._lay_out()
            self._server = IoctlServer(self._socket, lambda: CameraFile(self.camera))
        except BaseException:
            shutil.rmtree(self._root)
            raise

    @property
    def node(self) -> str:
        """Where programs find the camera."""
        return f"/dev/video{self.number}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program's environment must hold, beside its own, to see the camera."""
        preload = ":".join(filter(None, [PRELOAD, os.environ.get("LD_PRELOAD", "")]))
        return {"LD_PRELOAD": preload, "UMOCKDEV_DIR": str(self._root)}

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """`subprocess.run` of a program that sees the camera."""
        return subprocess.run(command, env=self._env(options), check=options.pop("check", False), **options)

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen` of a program that sees the camera."""
        return subprocess.Popen(command, env=self._env(options), **options)

    @contextmanager
    def visible(self) -> Iterator[None]:
        """Let this very process see the camera; raises `RuntimeError` unless it was started under umockdev-wrapper."""
        if PRELOAD not in os.environ.get("LD_PRELOAD", ""):
            raise RuntimeError("this process does not run under umockdev-wrapper")
        before = os.environ.get("UMOCKDEV_DIR")
        os.environ["UMOCKDEV_DIR"] = str(self._root)
        try:
            yield
        finally:
            del os.environ["UMOCKDEV_DIR"]
            if before is not None:
                os.environ["UMOCKDEV_DIR"] = before

    @property
    def descriptors(self) -> int:
        """How many descriptors of the node programs hold now."""
        return self._server.descriptors

    @property
    def faults(self) -> frozenset[Fault]:
        """The faults that the camera can play."""
        return self.camera.faults

    def inject(self, order: FaultOrder) -> None:
        """Begin a fault on the camera."""
        self.camera.inject(order)

    def mend(self) -> None:
        """End every fault of the camera."""
        self.camera.mend()

    def close(self) -> None:
        """Take the camera away for good; programs that still hold it get ENODEV first. Closing twice is allowed."""
        if not self._root.exists():
            return
        self.camera.unplug()
        self._server.close()
        self.camera.sensor.stop()
        self._unmap()
        shutil.rmtree(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _node_file(self) -> Path:
        return self._root / "dev" / f"video{self.number}"

    @property
    def _socket(self) -> Path:
        return self._root / "ioctl" / "dev" / f"video{self.number}"

    @property
    def _links(self) -> Sequence[Path]:
        """Where sysfs lists the device while it is there."""
        by_number = self._root / "sys" / "dev" / "char" / f"{_MAJOR}:{self.number}"
        return self._root / "sys" / "class" / "video4linux" / f"video{self.number}", by_number

    @property
    def _named(self) -> Path:
        """udev's name for the node."""
        name = f"lab-{self.camera.identity.port}-video-index0"
        return self._node_file.parent / "v4l" / "by-path" / name

    def _env(self, options: dict[str, Any]) -> Mapping[str, str]:
        return {**(options.pop("env", None) or os.environ), **self.environment}

    def _lay_out(self) -> None:
        if len(str(self._socket)) > _SOCKET_PATH_BYTES:
            raise ValueError(f"{self._root} is too long a path for a socket: set TMPDIR to a shorter one")
        for folder in (
            self._node_file.parent / ".node",
            self._socket.parent,
            self._named.parent,
            *(link.parent for link in self._links),
        ):
            folder.mkdir(parents=True)
        (self._node_file.parent / ".node" / self._node_file.name).symlink_to(f"{_MAJOR}:{self.number}")
        self._describe()
        self._plug(True)

    def _describe(self) -> None:
        """The device in sysfs, below `devices/virtual` where the kernel keeps what hangs on no bus."""
        identity = self.camera.identity
        usb = self._root / "sys/devices/virtual/keyvigil-lab" / identity.port
        entry = usb / f"{identity.port}:1.0" / "video4linux" / f"video{self.number}"
        entry.mkdir(parents=True)
        (entry / "device").symlink_to("../..")
        (entry / "name").write_text(identity.card + "\n")
        (entry / "index").write_text("0\n")
        (entry / "uevent").write_text(f"MAJOR={_MAJOR}\nMINOR={self.number}\nDEVNAME=video{self.number}\n")
        (entry / "dev").write_text(f"{_MAJOR}:{self.number}\n")
        for name, text in {
            "idVendor": identity.vendor_id,
            "idProduct": identity.product_id,
            "serial": identity.serial,
        }.items():
            (usb / name).write_text(text + "\n")
        self._entry = entry

    def _plug(self, arrived: bool) -> None:
        if not arrived:
            self._node_file.unlink(missing_ok=True)
            for link in (*self._links, self._named):
                link.unlink(missing_ok=True)
            return
        self._map()
        for link in self._links:
            link.symlink_to(os.path.relpath(self._entry, link.parent))
        self._named.symlink_to(f"../../{self._node_file.name}")

    def _permit(self, allowed: bool) -> None:
        """The mode of the node; root passes it all the same, and is refused by the ioctls."""
        if self._node_file.exists():
            self._node_file.chmod(0o660 if allowed else 0)

    def _map(self) -> None:
        """A new node, whose bytes are the buffers; one that was unplugged stays as it is for those who mapped it."""
        self._unmap()
        size = self.camera.buffer_bytes * MAX_BUFFERS
        handle = os.open(self._node_file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
        try:
            os.truncate(handle, size)
            self._memory = mmap.mmap(handle, size)
        finally:
            os.close(handle)
        self.camera.memory = memoryview(self._memory)

    def _unmap(self) -> None:
        self.camera.memory.release()
        if self._memory is not None:
            self._memory.close()
            self._memory = None


def _unique(first: Any, rest: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys([first, *rest]))
