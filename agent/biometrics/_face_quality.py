"""What can be said about a face before it is described, after the components of ISO/IEC 29794-5.

Everything but the pose is measured on the face aligned to one size, so that its parts are where they are expected. The
limits and what they were chosen by are in `agent.biometrics.parameters` and docs/biometrics/face.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._alignment import FRONTAL_DEPTH, SIDE, aligned
from agent.biometrics.grading import Grading
from agent.biometrics.values import Purpose, Quality

_FACE = np.s_[28:104, 22:90]
_HALVES = np.s_[36:100, 24:56], np.s_[36:100, 56:88]
_EYES = np.s_[44:62, 28:50], np.s_[44:62, 62:84]
_MOUTH = np.s_[84:104, 40:72]
_CLIP_LOW, _CLIP_HIGH = 6, 249
_COARSE = 8.0
"""Standard deviation in pixels of what counts as shading and not as a feature of the face."""

Grey = NDArray[np.float32]


def judge(rgb: NDArray[np.uint8], points: NDArray[np.float64], purpose: Purpose, confidence: float | None) -> Quality:
    """Quality of the face with the five landmarks `[5, 2]`; `confidence` is the detector's, None if none was asked."""
    import cv2

    grading = Grading()
    if confidence is not None:
        limit = parameters.FACE_CONFIDENCE
        grading.judge("confidence", confidence, limit, "Show the whole face, with nothing before it.")
        _judge_pose(grading, points, purpose)
    grey = cv2.cvtColor(aligned(rgb, points, SIDE, cv2.BORDER_REPLICATE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    _judge_light(grading, grey)
    _judge_sharpness(grading, grey)
    _judge_occlusion(grading, grey)
    return grading.quality()


def _judge_pose(grading: Grading, points: NDArray[np.float64], purpose: Purpose) -> None:
    """Size and turn of the head; the distance of the eyes is that of the same head seen from the front."""
    right, left, nose = points[2:4].mean(axis=0), points[0:2].mean(axis=0), points[4]
    axis = left - right
    distance = float(np.linalg.norm(axis))
    if distance < 1.0:
        grading.grade("eye_distance_px", distance, 0.0, "Come closer to the camera.")
        return
    below = nose - (left + right) / 2
    yaw = abs(float(np.dot(below, axis))) / distance**2
    depth = float(axis[0] * below[1] - axis[1] * below[0]) / distance
    frontal = max(distance, depth / FRONTAL_DEPTH)
    roll = abs(float(np.degrees(np.arctan2(axis[1], axis[0]))))
    grading.judge("eye_distance_px", frontal, parameters.FACE_EYE_DISTANCE[purpose], "Come closer to the camera.")
    grading.judge("yaw", yaw, parameters.FACE_YAW[purpose], "Face the camera: the head is turned to one side.")
    pitch = abs(depth / distance - FRONTAL_DEPTH)
    grading.judge("pitch", pitch, parameters.FACE_PITCH, "Look straight ahead, neither up nor down.")
    grading.judge("roll_degrees", roll, parameters.FACE_ROLL, "Hold the head upright.")


def _judge_light(grading: Grading, grey: Grey) -> None:
    face = grey[_FACE]
    luma, (low, high) = float(face.mean()), np.percentile(face, (5, 95))
    clipped = float(((face <= _CLIP_LOW) | (face >= _CLIP_HIGH)).mean())
    halves = [float(grey[half].mean()) for half in _HALVES]
    imbalance = abs(halves[0] - halves[1]) / max(1.0, *halves)
    grading.judge("luma", luma, parameters.FACE_DARK, "Turn to the light: the face is too dark.")
    grading.judge("luma", luma, parameters.FACE_BRIGHT, "Less light on the face, please: the picture is too bright.")
    grading.judge("range", float(high - low), parameters.FACE_RANGE, "Avoid haze and light from behind.")
    grading.judge("clipped", clipped, parameters.FACE_CLIPPED, "Avoid glare and deep shadow on the face.")
    grading.judge(
        "imbalance", imbalance, parameters.FACE_IMBALANCE, "Turn so that light falls on both sides of the face."
    )


def _judge_sharpness(grading: Grading, grey: Grey) -> None:
    """Fine detail, and its share in what contrast there is."""
    import cv2

    detail = float(cv2.Laplacian(grey, cv2.CV_32F)[_FACE].var())
    reason = "Hold still and clean the lens: the face is blurred."
    grading.judge("sharpness", detail, parameters.FACE_SHARPNESS, reason)
    share = detail / max(1.0, float(grey[_FACE].var()))
    grading.judge("detail_share", share, parameters.FACE_DETAIL, reason)


def _judge_occlusion(grading: Grading, grey: Grey) -> None:
    """Eyes and mouth that show, and halves that are alike, as contrast and correlation of the expected places."""
    contrast = max(1.0, float(grey[_FACE].std()))
    eyes = min(float(grey[eye].std()) for eye in _EYES) / contrast
    mouth = float(grey[_MOUTH].std()) / contrast
    grading.judge("eyes", eyes, parameters.FACE_EYES, "Show both eyes: no hand, hair or dark glasses before them.")
    grading.judge("mouth", mouth, parameters.FACE_MOUTH, "Show the mouth: no hand, scarf or mask before it.")
    grading.judge("symmetry", _symmetry(grey), parameters.FACE_SYMMETRY, "Show the whole face, evenly lit.")


def _symmetry(grey: Grey) -> float:
    """Correlation -1..1 of one half with the other's mirror image, after shading was taken out."""
    import cv2

    features = grey - cv2.GaussianBlur(grey, (0, 0), _COARSE)
    features = features / (np.sqrt(cv2.GaussianBlur(features**2, (0, 0), _COARSE)) + 4.0)
    one, other = features[30:104, 20:56], features[30:104, 56:92][:, ::-1]
    return float((one * other).mean() / max(1e-6, float(np.sqrt((one**2).mean() * (other**2).mean()))))
