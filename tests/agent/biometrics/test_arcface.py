import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.biometrics import BiometricError, FacePipeline, FaceSettings, ModelError, enrol, match
from agent.biometrics._alignment import SIDE, TEMPLATE, aligned, similarity
from agent.biometrics._arcface import ArcFaceEngine
from agent.biometrics._onnx_nodes import first_operations
from hal import Frame
from tests.agent.biometrics.onnx_files import mean_colour

RANDOM = np.random.default_rng(5).normal(size=(3, 128))


def settings(folder: Path, model: bytes, **others: object) -> FaceSettings:
    path = folder / "site.onnx"
    path.write_bytes(model)
    digest = others.pop("model_sha256", hashlib.sha256(model).hexdigest())
    return FaceSettings(model=str(path), model_sha256=digest, **others)


def engine(folder: Path, model: bytes) -> ArcFaceEngine:
    chosen = settings(folder, model)
    return ArcFaceEngine(Path(chosen.model), chosen.model_sha256)


def test_a_site_s_network_takes_the_place_of_the_shipped_one(tmp_path, frame: Frame):
    pipeline = FacePipeline(settings(tmp_path, mean_colour(RANDOM)))
    features = pipeline.extract([frame]).features
    assert pipeline.model.startswith("arcface/sha256:") and features.model == pipeline.model
    assert len(features.vector) == 128
    assert np.linalg.norm(features.vector / 32767.0) == pytest.approx(1.0, abs=1e-3)
    assert match(pipeline, enrol(pipeline, [features]), features).score == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("length", [64, 512, 1024])
def test_embeddings_of_other_lengths_are_taken(tmp_path, frame: Frame, length: int):
    pipeline = FacePipeline(settings(tmp_path, mean_colour(np.ones((3, length)))))
    assert len(pipeline.extract([frame]).features.vector) == length


@pytest.mark.parametrize("centred", [True, False])
def test_the_mean_is_subtracted_where_the_network_does_not_do_it_itself(tmp_path, centred: bool):
    face = np.full((SIDE, SIDE, 3), (255, 127, 127), np.uint8)
    found = engine(tmp_path, mean_colour(np.eye(3, 64), centred=centred)).describe(face, TEMPLATE)
    assert found[0] == pytest.approx(1.0, abs=1e-3)
    assert np.abs(found[1:]).max() < 0.01


def test_the_side_of_the_input_is_the_network_s(tmp_path, frame: Frame):
    assert FacePipeline(settings(tmp_path, mean_colour(RANDOM, side=96))).extract([frame])


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (b"", "no network|not a network"),
        (b"\x08\x08not a model", "not a network"),
        (b"\xff" * 4096, "not a network"),
        (mean_colour(RANDOM)[:900], "not a network"),
        (mean_colour(np.ones((3, 10))), "not one embedding"),
        (mean_colour(np.ones((3, 2000))), "not one embedding"),
        (mean_colour(np.full((3, 128), np.nan)), "not numbers"),
        (mean_colour(np.full((3, 128), np.inf)), "not numbers"),
        (mean_colour(np.zeros((3, 128))), "not numbers, or nothing"),
        (mean_colour(RANDOM, side=1000), "1000 pixels"),
        (mean_colour(np.ones((1, 128)), planes=1), r"not \[1, 3, side, side\]"),
        (mean_colour(RANDOM, side=SIDE, planes=3).replace(b"GlobalAveragePool", b"GlobalAverageFool"), "not a network"),
    ],
    ids=["empty", "text", "endless", "cut", "short", "long", "nan", "inf", "zero", "huge", "grey", "operation"],
)
def test_a_file_that_is_no_face_network_is_refused_with_a_remedy(tmp_path, model: bytes, complaint: str):
    with pytest.raises(ModelError, match=complaint) as caught:
        FacePipeline(settings(tmp_path, model)).warm_up()
    assert caught.value.remedy


def test_another_file_than_the_pinned_one_is_refused(tmp_path):
    model = mean_colour(RANDOM)
    FacePipeline(settings(tmp_path, model)).warm_up()
    with pytest.raises(ModelError, match="is pinned"):
        FacePipeline(settings(tmp_path, model, model_sha256="00" * 32)).warm_up()
    with pytest.raises(ModelError, match="without its hash"):
        FacePipeline(settings(tmp_path, model, model_sha256=""))


def test_an_absent_and_an_oversized_file_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="cannot be read"):
        ArcFaceEngine(tmp_path / "absent.onnx", "00" * 32).load()
    with pytest.raises(ModelError, match="cannot be read"):
        ArcFaceEngine(tmp_path, "00" * 32).load()
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(300_000_001)
    with pytest.raises(ModelError, match="more than a node has room for"):
        ArcFaceEngine(large, "00" * 32).load()


def test_vectors_of_two_networks_are_never_compared(tmp_path, frame: Frame):
    one = FacePipeline(settings(tmp_path, mean_colour(RANDOM)))
    features = one.extract([frame]).features
    other = FacePipeline(settings(tmp_path, mean_colour(RANDOM + 1.0)))
    with pytest.raises(BiometricError, match="another model"):
        match(other, enrol(one, [features]), other.extract([frame]).features)


@pytest.mark.parametrize("own", [0.55, 0.4])
def test_a_site_may_set_its_own_threshold(tmp_path, own: float):
    assert FacePipeline(settings(tmp_path, mean_colour(RANDOM), threshold=own)).threshold.accept == own


@pytest.mark.parametrize("own", [0.01, -0.5, 0.99, float("nan")])
def test_a_threshold_that_would_accept_or_refuse_anybody_is_refused(tmp_path, own: float):
    with pytest.raises(BiometricError, match="threshold"):
        FacePipeline(settings(tmp_path, mean_colour(RANDOM), threshold=own))


def test_operations_are_read_from_the_file():
    plain, centred = mean_colour(RANDOM), mean_colour(RANDOM, centred=True)
    assert first_operations(plain, 8) == ["GlobalAveragePool", "Flatten", "MatMul"]
    assert first_operations(centred, 2) == ["Sub", "Mul"]
    for cut in range(len(plain)):
        assert len(first_operations(plain[:cut], 8)) <= 3


def test_a_similarity_is_found_again():
    angle, scale, shift = 0.3, 1.7, np.array([12.0, -5.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert similarity(TEMPLATE, TEMPLATE @ turn.T + shift) == pytest.approx(np.column_stack([turn, shift]))


def test_a_turned_and_enlarged_face_is_aligned_to_the_same_picture(portrait):
    points = TEMPLATE + np.array([160.0, 70.0])
    turn = cv2.getRotationMatrix2D((256, 256), 25.0, 1.3)
    turned = cv2.warpAffine(portrait, turn, (512, 512))
    straight = aligned(portrait, points, SIDE, cv2.BORDER_REPLICATE).astype(int)
    again = aligned(turned, points @ turn[:, :2].T + turn[:, 2], SIDE, cv2.BORDER_REPLICATE).astype(int)
    assert np.abs(straight - again).mean() < 4.0
    assert np.abs(straight - again[:, ::-1]).mean() > 15.0


@pytest.mark.realdata
def test_an_arcface_network_tells_people_apart(real_data):
    path = real_data.parent / "models/mobilefacenet_128.onnx"
    if not path.exists():
        pytest.skip("needs mobilefacenet_128.onnx beside the data")
    pinned = "625b9b2b14e4c6c3940a0b96f89d780216adb6e2e15f17072ed2dae59f93fbb2"
    crops = FacePipeline(FaceSettings(model=str(path), model_sha256=pinned, aligned=True))
    folders = sorted((real_data / "face/celeb24").iterdir())[:4]
    people = [
        [crops.extract([Frame(cv2.imread(str(file)), 0, 0)]).features for file in sorted(folder.iterdir())[:8]]
        for folder in folders
    ]
    for person, group in enumerate(people):
        template = enrol(crops, group[:5])
        accepted = [match(crops, template, other[5:8]).accepted for other in people]
        assert accepted == [index == person for index in range(len(people))]
