import hashlib
import io
from itertools import combinations

import numpy as np
import pytest
import soundfile
import soxr

from agent.biometrics import BiometricError, ModelError, ModelMismatch, Recording, VoicePipeline, VoiceSettings
from agent.biometrics.pipelines import enrol, match
from agent.biometrics.voice_centre import VoiceCentre, opened


def some_centre() -> VoiceCentre:
    return VoiceCentre(np.random.default_rng(0).normal(0, 0.03, (2, 192)).astype(np.float32))


def written(path, data: bytes) -> tuple[str, str]:
    path.write_bytes(data)
    return str(path), hashlib.sha256(data).hexdigest()


def test_the_shipped_centre_is_a_mean_of_each_band():
    lengths = np.linalg.norm(opened("", "").means, axis=1)
    assert 0.2 < lengths[0] < lengths[1] < 0.6


def test_strangers_that_share_a_direction_come_apart():
    random = np.random.default_rng(0)
    shared = random.normal(size=192)
    strangers = [shared + 2 * random.normal(size=192) for _ in range(30)]
    units = [one / np.linalg.norm(one) for one in strangers]
    centre = VoiceCentre(np.stack([np.mean(units, axis=0)] * 2).astype(np.float32))
    moved = [centre.off(one, narrow=False) for one in strangers]
    before, after = ([a @ b for a, b in combinations(group, 2)] for group in (units, moved))
    assert np.mean(after) < 0.5 * np.mean(before)
    assert np.allclose(np.linalg.norm(moved, axis=1), 1.0)


def test_a_site_moves_the_band_it_recorded_and_few_people_move_it_little():
    centre = some_centre()
    people = [[np.eye(192)[k], np.eye(192)[k]] for k in range(4)]
    few, many = (centre.adapted(people * times, narrow=True) for times in (1, 100))
    assert np.array_equal(few.means[0], centre.means[0])
    target = np.eye(192)[:4].mean(axis=0)
    distances = [np.linalg.norm(one.means[1] - target) for one in (centre, few, many)]
    assert distances[0] > distances[1] > 10 * distances[2]


def test_a_person_of_many_recordings_counts_as_one():
    one, other = np.eye(192)[:2]
    even = some_centre().adapted([[one], [other]], narrow=False, prior=0)
    uneven = some_centre().adapted([[one] * 50, [other]], narrow=False, prior=0)
    assert np.allclose(even.means, uneven.means)


def test_no_people_leave_the_centre_where_it_is():
    assert np.allclose(some_centre().adapted([[], []], narrow=False).means, some_centre().means)


def test_a_centre_is_loaded_by_its_hash_alone(tmp_path):
    path, digest = written(tmp_path / "centre.npy", some_centre().to_bytes())
    assert np.array_equal(opened(path, digest).means, some_centre().means)
    with pytest.raises(ModelError, match="is pinned"):
        VoiceCentre.load(tmp_path / "centre.npy", "0" * 64)


def hostile() -> dict[str, bytes]:
    """Files that hash as pinned and are no centre."""
    shapes = {
        "shape": np.zeros((2, 191), np.float32),
        "type": np.zeros((2, 192)),
        "values": np.full((2, 192), np.nan, np.float32),
        "objects": np.array([[None] * 192] * 2, dtype=object),
    }
    files = {}
    for name, array in shapes.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True)
        files[name] = buffer.getvalue()
    return files | {"nothing": b"", "short": some_centre().to_bytes()[:-1]}


@pytest.mark.parametrize("name", hostile())
def test_another_file_is_no_centre(tmp_path, name: str):
    path, digest = written(tmp_path / "centre.npy", hostile()[name])
    with pytest.raises(ModelError, match="no centre"):
        opened(path, digest)


def test_a_template_of_another_centre_is_refused(tmp_path, pipelines, voices):
    path, digest = written(tmp_path / "centre.npy", some_centre().to_bytes())
    own = VoicePipeline(VoiceSettings(centre=path, centre_sha256=digest))
    features = [[one.extract(voice).features for voice in voices["low"][:2]] for one in (own, pipelines.voice)]
    assert match(own, enrol(own, features[0]), features[0][0]).accepted
    with pytest.raises(ModelMismatch):
        match(own, enrol(own, features[0]), features[1][0])


def test_an_embedding_at_the_centre_itself_is_refused():
    centre = VoiceCentre(np.stack([2 * np.eye(192)[0]] * 2).astype(np.float32))
    with pytest.raises(BiometricError):
        centre.off(np.eye(192)[0], narrow=False)


@pytest.mark.realdata
def test_strangers_on_the_telephone_are_less_alike_by_the_centre(pipelines, real_data):
    """Readers that are not among those the centre was learnt of."""
    embeddings = []
    for person in sorted((real_data / "voice/librispeech").iterdir()):
        pcm, rate = soundfile.read(max(person.iterdir(), key=lambda path: path.stat().st_size), dtype="int16")
        call = np.rint(soxr.resample(pcm[: 5 * rate].astype(np.float64), rate, 8_000)).astype(np.int16)
        embedding, narrow = pipelines.voice.raw_embedding(Recording(call, 8_000))
        assert narrow
        embeddings.append(embedding / np.linalg.norm(embedding))
    moved = [opened("", "").off(one, narrow=True) for one in embeddings]
    before, after = (np.mean([a @ b for a, b in combinations(group, 2)]) for group in (embeddings, moved))
    assert after < before - 0.05
