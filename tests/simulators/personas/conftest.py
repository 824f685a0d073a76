"""The real matchers, called directly: the personas must convince them, not our own code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import dlib
import face_recognition_models
import kaldi_native_fbank
import nbis
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from simulators.personas import Persona, shipped_personas

ROOT = Path(__file__).resolve().parents[3]
CAMPPLUS = "campplus_192_fp16w.onnx"


class FingerMatcher:
    """nbis-py on what a U.are.U 4500 sees of an impression: the middle 384 by 290 pixels."""

    def __init__(self) -> None:
        self._plain = self._extractor(compute_nfiq2=False)
        self._grading = self._extractor(compute_nfiq2=True)

    @staticmethod
    def _extractor(*, compute_nfiq2: bool) -> Any:
        settings = nbis.NbisExtractorSettings(
            min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=compute_nfiq2, ppi=500.0
        )
        return nbis.new_nbis_extractor(settings)

    @staticmethod
    def sensed(pixels: NDArray[np.uint8]) -> bytes:
        top, left = (pixels.shape[0] - 290) // 2, (pixels.shape[1] - 384) // 2
        return cv2.imencode(".png", pixels[top : top + 290, left : left + 384])[1].tobytes()

    def minutiae(self, pixels: NDArray[np.uint8]) -> Any:
        return self._plain.extract_minutiae(self.sensed(pixels))

    def nfiq2(self, pixels: NDArray[np.uint8]) -> int:
        """0 where NFIQ 2 finds too little finger to grade."""
        try:
            return int(self._grading.extract_minutiae(self.sensed(pixels)).quality().score)
        except nbis.NbisError.Nfiq2ComputeFailed:
            return 0


class FaceDescriber:
    """dlib: HOG detector, five points, 128-d descriptor."""

    def __init__(self) -> None:
        self._detect = dlib.get_frontal_face_detector()
        self._points = dlib.shape_predictor(face_recognition_models.pose_predictor_five_point_model_location())
        self._describe = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())

    def faces(self, bgr: NDArray[np.uint8]) -> int:
        return len(self._detect(np.ascontiguousarray(bgr[:, :, ::-1]), 0))

    def descriptor(self, bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
        rgb = np.ascontiguousarray(bgr[:, :, ::-1])
        boxes = self._detect(rgb, 0)
        assert boxes, "no face found"
        box = max(boxes, key=lambda found: found.area())
        return np.array(self._describe.compute_face_descriptor(rgb, self._points(rgb, box)))


class SpeakerModel:
    """CAM++ on 80-bin Kaldi features."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def embedding(self, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.dither, options.frame_opts.samp_freq = 0, 16_000
        options.mel_opts.num_bins = 80
        bank = kaldi_native_fbank.OnlineFbank(options)
        bank.accept_waveform(16_000, (pcm / 32768).tolist())
        bank.input_finished()
        features = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
        centred = (features - features.mean(axis=0)).astype(np.float32)
        vector = self._session.run(None, {"feats": centred[None]})[0][0]
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


@pytest.fixture(scope="session")
def finger_matcher() -> FingerMatcher:
    return FingerMatcher()


@pytest.fixture(scope="session")
def face_describer() -> FaceDescriber:
    return FaceDescriber()


@pytest.fixture(scope="session")
def speaker_model() -> SpeakerModel:
    shared = Path(os.environ.get("KEYVIGIL_DATA", ROOT / "../shared/data")).parent / "models"
    for model in (ROOT / "agent/models" / CAMPPLUS, shared / CAMPPLUS):
        if model.is_file():
            return SpeakerModel(model)
    pytest.skip(f"{CAMPPLUS} is neither in agent/models nor beside the real samples")


@pytest.fixture(scope="session")
def personas() -> tuple[Persona, ...]:
    return shipped_personas()
