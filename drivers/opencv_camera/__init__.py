"""Cameras through OpenCV: V4L2 nodes, network cameras (motion JPEG over HTTP), video files, image folders."""

from drivers.opencv_camera._camera import OpenCvCamera
from drivers.opencv_camera._driver import OpenCvCameraDriver
from drivers.opencv_camera._identity import Places
from drivers.opencv_camera._options import CameraOptions

__all__ = ["CameraOptions", "OpenCvCamera", "OpenCvCameraDriver", "Places"]
