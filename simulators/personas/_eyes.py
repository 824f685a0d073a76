"""Where the eyes of a photograph are: what the animation needs to know to close them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from simulators.personas._portrait import Image, Point


def eyes_of(bgr: Image) -> tuple[Point, ...]:
    """The middles of both eyes of the surest face, left of the picture first; none where dlib finds no face."""
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    detector, predictor = _dlib()
    found, confidences, _ = detector.run(rgb, 1, 0.0)
    if not confidences:
        return ()
    parts = predictor(rgb, found[int(np.argmax(confidences))]).parts()
    middles = [((a.x + b.x) / 2, (a.y + b.y) / 2) for a, b in ((parts[0], parts[1]), (parts[2], parts[3]))]
    return tuple(sorted(middles))


@cache
def _dlib() -> tuple[Any, Any]:
    """dlib's detector and its predictor of five points."""
    import dlib
    import face_recognition_models as models

    return dlib.get_frontal_face_detector(), dlib.shape_predictor(models.pose_predictor_five_point_model_location())
