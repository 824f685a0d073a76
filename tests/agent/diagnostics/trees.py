"""A machine made of files: sysfs and device nodes as the kernel lays them out."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from agent.diagnostics.machine import Machine


class Tree:
    """Builds a machine below a folder; `forbidden` nodes may not be used by this user."""

    def __init__(self, root: Path, forbidden: Collection[str] = ()) -> None:
        self.root = root
        refused = {root / name.lstrip("/") for name in forbidden}
        self.machine = Machine(root, lambda node: node.exists() and node not in refused)

    def file(self, path: str, content: str | bytes = "") -> Path:
        made = self.root / path.lstrip("/")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(content.encode() if isinstance(content, str) else content)
        return made

    def usb(self, port: str, vendor: str, product: str, name: str = "", device_class: str = "00") -> str:
        """A device at address 7 of bus 1; the path of its node."""
        folder = f"/sys/bus/usb/devices/{port}"
        attributes = {"idVendor": vendor, "idProduct": product, "product": name, "busnum": "1", "devnum": "7"}
        for attribute, value in {**attributes, "bDeviceClass": device_class, "serial": "S3CRET-SERIAL"}.items():
            self.file(f"{folder}/{attribute}", value + "\n")
        node = "/dev/bus/usb/001/007"
        self.file(node)
        return node

    def interface(self, port: str, interface_class: str, driver: str = "") -> None:
        folder = f"/sys/bus/usb/devices/{port}/{port}:1.0"
        self.file(f"{folder}/bInterfaceClass", interface_class + "\n")
        if driver:
            (self.root / f"sys/bus/usb/drivers/{driver}").mkdir(parents=True, exist_ok=True)
            (self.root / folder.lstrip("/") / "driver").symlink_to(self.root / f"sys/bus/usb/drivers/{driver}")

    def libfprint(self, *readers: str) -> None:
        """The hardware database with these readers as supported, and 1234:5678 as known but unsupported."""
        lines = [f"usb:v{reader[:4].upper()}p{reader[5:].upper()}*" for reader in readers]
        text = "\n".join(
            ["# Supported by libfprint driver x", *lines, "# Known unsupported devices", "usb:v1234p5678*"]
        )
        self.file("/lib/udev/hwdb.d/60-autosuspend-libfprint-2.hwdb", text)
