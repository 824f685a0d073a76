"""What can be said about a face in a picture before it is described: size, light, sharpness, pose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._dlib import Box
from agent.biometrics.grading import Grading
from agent.biometrics.values import Purpose, Quality

_SIDE = 112
_CLIP_LOW = 4
_CLIP_HIGH = 251


def judge(rgb: NDArray[np.uint8], box: Box, points: NDArray[np.float64], purpose: Purpose) -> Quality:
    """Quality of the face in `box` with its five landmarks `[5, 2]`."""
    grading = Grading()
    grading.judge(
        "confidence", box.confidence, parameters.FACE_CONFIDENCE, "Show the whole face, with nothing before it."
    )
    _judge_pose(grading, points, purpose)
    _judge_light(grading, _crop(rgb, box))
    return grading.quality()


def _crop(rgb: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """The face in grey, 112 x 112."""
    import cv2

    height, width = rgb.shape[:2]
    face = rgb[max(0, box.top) : min(height, box.bottom), max(0, box.left) : min(width, box.right)]
    grey = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY)
    resized: NDArray[np.uint8] = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return resized


def _judge_pose(grading: Grading, points: NDArray[np.float64], purpose: Purpose) -> None:
    one, other, nose = points[0:2].mean(axis=0), points[2:4].mean(axis=0), points[4]
    left, right = (one, other) if one[0] < other[0] else (other, one)
    axis = right - left
    distance = float(np.linalg.norm(axis))
    if distance < 1.0:
        grading.grade("eye_distance_px", distance, 0.0, "Come closer to the camera.")
        return
    offset = float(np.dot(nose - (left + right) / 2, axis) / distance**2)
    roll = abs(float(np.degrees(np.arctan2(axis[1], axis[0]))))
    grading.judge("eye_distance_px", distance, parameters.FACE_EYE_DISTANCE[purpose], "Come closer to the camera.")
    grading.judge("yaw", abs(offset), parameters.FACE_YAW, "Face the camera: the head is turned to one side.")
    grading.judge("roll_degrees", roll, parameters.FACE_ROLL, "Hold the head upright.")


def _judge_light(grading: Grading, grey: NDArray[np.uint8]) -> None:
    import cv2

    middle = grey[:, _SIDE // 8 : -_SIDE // 8].astype(np.float32)
    luma = float(middle.mean())
    halves = float(grey[:, : _SIDE // 2].mean()), float(grey[:, _SIDE // 2 :].mean())
    clipped = float(((grey <= _CLIP_LOW) | (grey >= _CLIP_HIGH)).mean())
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    grading.judge("luma", luma, parameters.FACE_DARK, "More light on the face, please: the picture is too dark.")
    grading.judge("luma", luma, parameters.FACE_BRIGHT, "Less light on the face, please: the picture is too bright.")
    grading.judge("contrast", float(middle.std()), parameters.FACE_CONTRAST, "Avoid haze and light from behind.")
    grading.judge("clipped", clipped, parameters.FACE_CLIPPED, "Avoid glare and deep shadow on the face.")
    grading.judge(
        "imbalance",
        abs(halves[0] - halves[1]) / max(1.0, *halves),
        parameters.FACE_IMBALANCE,
        "Turn so that light falls on both sides of the face.",
    )
    grading.judge(
        "sharpness", sharpness, parameters.FACE_SHARPNESS, "Hold still and clean the lens: the face is blurred."
    )
