import subprocess
import sys

import numpy as np

from agent.biometrics import Features, Modality, Template
from agent.biometrics.grading import Grading
from agent.biometrics.parameters import Limit

_HEAVY = ("cv2", "dlib", "face_recognition_models", "kaldi_native_fbank", "librosa", "nbis", "onnxruntime", "soxr")


def test_importing_the_package_loads_no_library_and_no_model():
    code = f"import sys, agent.biometrics; sys.exit(sorted(set({_HEAVY!r}) & set(sys.modules)) != [])"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_repr_shows_no_biometric_value():
    vector = np.full(192, 12_345, dtype=np.int16)
    features = Features(Modality.VOICE, "model", vector)
    template = Template.of([features, features])
    assert "12345" not in repr(features) + repr(template)
    assert "12345" in repr(vector)


def test_features_are_committed_to_as_little_endian_int16():
    assert Features(Modality.VOICE, "m", np.array([1, -2], dtype=np.int16)).to_bytes() == b"\x01\x00\xfe\xff"


def test_the_weakest_measure_decides_and_every_refusal_is_named():
    grading = Grading()
    grading.judge("loud", 30.0, Limit(poor=0.0, good=40.0, refuse=10.0), "Louder.")
    grading.judge("noise", 9.0, Limit(poor=10.0, good=0.0, refuse=8.0), "Quieter.")
    quality = grading.quality()
    assert (quality.score, quality.reasons, quality.acceptable) == (10, ("Quieter.",), False)
    assert quality.measures == {"loud": 30.0, "noise": 9.0}


def test_a_measure_at_its_limit_is_acceptable():
    grading = Grading()
    grading.judge("loud", 10.0, Limit(poor=0.0, good=40.0, refuse=10.0), "Louder.")
    assert grading.quality().acceptable
