from __future__ import annotations

from pathlib import Path

import pytest

from agent.diagnostics.attached import Unclaimed, unclaimed, usb_summary
from hal import DeviceInfo, DeviceKind, Transport
from tests.agent.diagnostics.trees import Tree


def only(tree: Tree, *claimed: DeviceInfo) -> Unclaimed:
    (found,) = unclaimed(tree.machine, claimed)
    return found


def test_a_machine_without_any_of_it() -> None:
    assert unclaimed(Tree(Path("/nonexistent")).machine, []) == []


def test_a_reader_of_ours_without_permission_is_mended_by_the_rules(tmp_path: Path) -> None:
    tree = Tree(tmp_path, ["/dev/bus/usb/001/007"])
    tree.usb("1-2", "05ba", "000a", "U.are.U")
    found = only(tree)
    assert (found.bus, found.place, found.vendor_id, found.product_id) == ("usb", "1-2", "05ba", "000a")
    assert "may not open" in found.what
    assert "--udev-rules" in found.remedy


def test_a_reader_of_ours_that_may_be_opened_lacks_the_library(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.usb("1-2", "298d", "1010")
    assert "apt-get install libusb-1.0-0" in only(tree).remedy


def test_a_claimed_reader_is_not_listed(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.usb("1-2", "05ba", "000a")
    info = DeviceInfo(DeviceKind.FINGERPRINT, "uru4000", Transport.USB, "1-2", "05ba", "000a")
    assert unclaimed(tree.machine, [info]) == []


def test_a_reader_that_libfprint_knows_is_for_fprintd(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.libfprint("138a:0091")
    tree.usb("2-1.4", "138a", "0091", "VFS7552")
    found = only(tree)
    assert "libfprint" in found.what
    assert "apt-get install fprintd" in found.remedy


@pytest.mark.parametrize(("vendor", "listed"), [("27c6", True), ("1234", False)])
def test_an_unknown_reader_is_known_by_its_maker_alone(tmp_path: Path, vendor: str, listed: bool) -> None:
    """1234:5678 is what libfprint lists as *not* supported."""
    tree = Tree(tmp_path)
    tree.libfprint("138a:0091")
    tree.usb("1-1", vendor, "5678")
    tree.interface("1-1", "ff")
    assert bool(unclaimed(tree.machine, [])) is listed


def test_a_makers_device_with_a_kernel_driver_is_no_reader(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.usb("1-1", "04f3", "0001", "Touchscreen")
    tree.interface("1-1", "ff", "usbhid")
    assert unclaimed(tree.machine, []) == []


@pytest.mark.parametrize(
    ("vendor", "interface_class", "module"),
    [("1b3f", "0e", "uvcvideo"), ("1b3f", "01", "snd-usb-audio"), ("1a86", "ff", "ch341"), ("10c4", "ff", "cp210x")],
)
def test_a_device_without_a_kernel_driver_names_the_module(
    tmp_path: Path, vendor: str, interface_class: str, module: str
) -> None:
    tree = Tree(tmp_path)
    tree.usb("1-1", vendor, "0001")
    tree.interface("1-1", interface_class)
    assert only(tree).remedy == f"Load the driver: sudo modprobe {module}"


def test_hubs_are_passed_over(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.usb("usb1", "05ba", "000a", device_class="09")
    assert unclaimed(tree.machine, []) == []


def test_a_camera_node_without_permission_names_the_group(tmp_path: Path) -> None:
    tree = Tree(tmp_path, ["/dev/video0"])
    tree.file("/sys/class/video4linux/video0/name", "Cam")
    tree.file("/dev/video0")
    found = only(tree)
    assert (found.place, found.name) == ("/dev/video0", "Cam")
    assert "usermod -aG video" in found.remedy


def test_a_camera_that_a_driver_lists_is_claimed(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.file("/sys/class/video4linux/video0/name", "Cam")
    tree.file("/dev/video0")
    assert "no driver lists" in only(tree).what
    assert unclaimed(tree.machine, [DeviceInfo(DeviceKind.CAMERA, "opencv", Transport.V4L2, "/dev/video0")]) == []


def test_serial_ports(tmp_path: Path) -> None:
    tree = Tree(tmp_path, ["/dev/ttyUSB0"])
    for name, kind in (("ttyUSB0", ""), ("ttyUSB1", ""), ("ttyS0", "0")):
        tree.file(f"/sys/class/tty/{name}/device/uevent")
        tree.file(f"/sys/class/tty/{name}/dev", "188:0")
        tree.file(f"/dev/{name}")
        if kind:
            tree.file(f"/sys/class/tty/{name}/type", kind)
    tree.file("/sys/class/tty/tty1/dev", "4:1")
    refused, spare = unclaimed(tree.machine, [])
    assert (refused.place, refused.trouble) == ("/dev/ttyUSB0", True)
    assert "usermod -aG dialout" in refused.remedy
    assert (spare.place, spare.trouble) == ("/dev/ttyUSB1", False)
    assert "ef01" in spare.remedy


def test_tpms(tmp_path: Path) -> None:
    tree = Tree(tmp_path, ["/dev/tpmrm0"])
    for number, version in enumerate("2212"):
        tree.file(f"/sys/class/tpm/tpm{number}/tpm_version_major", version)
    for number in (0, 3):
        tree.file(f"/dev/tpmrm{number}")
    found = {device.place: device for device in unclaimed(tree.machine, [])}
    assert "usermod -aG tss" in found["/dev/tpmrm0"].remedy
    assert "without a resource-manager" in found["/dev/tpmrm1"].what
    assert "1.2" in found["/dev/tpm2"].what
    assert "does not see" in found["/dev/tpmrm3"].what
    info = DeviceInfo(DeviceKind.ENCLAVE, "tpm2", Transport.TPM, "device:/dev/tpmrm3", name="chip")
    assert "/dev/tpmrm3" not in {device.place for device in unclaimed(tree.machine, [info])}


def test_the_summary_for_support_has_no_serial_number(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.usb("1-1", "0951", "1666", "Stick")
    tree.interface("1-1", "08", "usb-storage")
    (line,) = usb_summary(tree.machine)
    assert line == {"port": "1-1", "identity": "0951:1666", "name": "Stick", "interfaces": ["08 usb-storage"]}


def test_a_device_that_describes_itself_with_garbage(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.usb("1-1", "27c6", "0001", "")
    tree.file("/sys/bus/usb/devices/1-1/product", b"\xff\xfe\x1b[2J" + b"A" * 10_000)
    tree.interface("1-1", "ff")
    assert only(tree).vendor_id == "27c6"
    assert usb_summary(tree.machine)[0]["name"].isprintable()
