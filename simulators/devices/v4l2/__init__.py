"""A camera that speaks V4L2, for unmodified programs under umockdev."""

from simulators.devices.v4l2._camera import Identity, V4l2Camera
from simulators.devices.v4l2._optics import INSTANT, Optics
from simulators.devices.v4l2._testbed import PRELOAD, V4l2Testbed
from simulators.devices.v4l2.pattern import counting_picture, read_number

__all__ = [
    "INSTANT",
    "PRELOAD",
    "Identity",
    "Optics",
    "V4l2Camera",
    "V4l2Testbed",
    "counting_picture",
    "read_number",
]
