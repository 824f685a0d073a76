import cv2
import numpy as np
import pytest
import soundfile
from PIL import Image

from agent.biometrics import Modality, Recording, speech
from agent.errors import ConfigError
from agent.evaluation import noise, pictures, sounds
from agent.evaluation.errors import EvaluationError, LeftOut
from agent.evaluation.folder import SubjectFolder, read_folder
from agent.evaluation.materials import material
from agent.evaluation.settings import Settings, known_keys

RATE = 16_000


def bursts(seconds: float, seed: int = 0) -> Recording:
    """Half-second bursts of noise with pauses as long between them, over a faint floor."""
    time = np.arange(int(seconds * RATE)) / RATE
    loudness = np.where(time % 1.0 < 0.5, 0.05, 0.0003)
    return Recording((np.random.default_rng(seed).normal(0, loudness) * 32767).astype(np.int16), RATE)


def test_subjects_and_samples_come_in_natural_order_and_the_rest_is_counted(tmp_path):
    for name in ("s10/1.png", "s2/10.png", "s2/2.png", "s2/.hidden.png", "s2/notes.txt", ".git/x.png", "readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "s2" / "more").mkdir()
    (tmp_path / "s3").mkdir()
    folder = read_folder(tmp_path, {".png"})
    assert [(each.name, [file.name for file in each.files]) for each in folder.subjects] == [
        ("s2", ["2.png", "10.png"]),
        ("s3", []),
        ("s10", ["1.png"]),
    ]
    assert folder.ignored == {"hidden": 2, "no file": 1, ".txt": 1, "beside the subjects' folders": 1}


def test_a_folder_without_subjects_or_that_is_none_is_an_error(tmp_path):
    with pytest.raises(EvaluationError, match="no subject's folder"):
        read_folder(tmp_path, {".png"})
    with pytest.raises(EvaluationError, match="does not exist"):
        read_folder(tmp_path / "nowhere", {".png"})
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match="cannot be listed"):
        read_folder(tmp_path / "file", {".png"})


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize(("stated", "taken"), [(1000, 1000), (385, 385), (72, 500), (96, 500), (None, 500)])
def test_the_resolution_is_what_the_file_states_of_a_sensor_else_500(tmp_path, suffix, stated, taken):
    path = tmp_path / f"impression.{suffix}"
    picture = Image.fromarray(np.arange(120 * 140, dtype=np.uint8).reshape(140, 120))
    picture.save(path, **({"dpi": (stated, stated)} if stated else {}))
    image = pictures.impression(path)
    assert image.dpi == taken
    assert np.array_equal(image.pixels, np.asarray(picture))
    assert pictures.impression(path, 300).dpi == 300


@pytest.mark.parametrize(
    ("width", "height", "factor"), [(92, 112, 3), (112, 112, 3), (239, 180, 2), (240, 180, 1), (640, 480, 1)]
)
def test_only_pictures_smaller_than_a_camera_s_are_enlarged(tmp_path, width, height, factor):
    path = tmp_path / "face.pgm"
    cv2.imwrite(str(path), np.full((height, width), 90, np.uint8))
    (frame,) = pictures.face(path, enlarge=True)
    assert frame.bgr.shape == (factor * height, factor * width, 3)
    (plain,) = pictures.face(path, enlarge=False)
    assert plain.bgr.shape == (height, width, 3)


def test_what_cannot_be_decoded_is_left_out(tmp_path):
    path = tmp_path / "broken.png"
    for content in (b"", b"no picture at all"):
        path.write_bytes(content)
        with pytest.raises(LeftOut, match="no picture"):
            pictures.impression(path)
        with pytest.raises(LeftOut, match="no sound"):
            sounds.read(path)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sound_is_read_as_it_was_written_and_channels_are_averaged(tmp_path, suffix):
    pcm = bursts(1.0).pcm
    path = tmp_path / f"voice.{suffix}"
    soundfile.write(path, pcm, RATE, subtype="PCM_16")
    assert np.array_equal(sounds.read(path).pcm, pcm)
    soundfile.write(path, np.stack([pcm, -pcm], axis=1), RATE, subtype="PCM_16")
    assert not sounds.read(path).pcm.any()


def test_a_recording_is_cut_to_the_seconds_of_speech_that_are_wanted():
    whole = bursts(12.0)
    cut = sounds.cut(whole, 3.0)
    assert speech.find(cut.samples()).seconds == pytest.approx(3.0, abs=0.1)
    assert np.array_equal(cut.pcm, whole.pcm[: len(cut.pcm)])
    with pytest.raises(LeftOut, match="less than 3 s of speech"):
        sounds.cut(bursts(4.0), 3.0)


@pytest.mark.parametrize("snr_db", [15.0, 5.0, 0.0])
def test_fans_are_as_loud_as_asked_for(snr_db):
    quiet = bursts(6.0)
    power = float((speech.find(quiet.samples()).samples ** 2).mean())
    noisy = sounds.Preparation(noise_snr_db=snr_db).apply(quiet, seed=1)
    added = noisy.pcm / 32767.0 - quiet.pcm / 32768.0
    assert 10 * np.log10(power / (added**2).mean()) == pytest.approx(snr_db, abs=0.2)
    again = sounds.Preparation(noise_snr_db=snr_db).apply(quiet, seed=1)
    assert np.array_equal(noisy.pcm, again.pcm)


def test_fan_noise_falls_with_frequency_between_pink_and_brown_and_hums():
    sound = noise.fans(20 * RATE, RATE, np.random.default_rng(2))
    power = np.abs(np.fft.rfft(sound)) ** 2
    bins = np.fft.rfftfreq(sound.size, 1 / RATE)

    def level(low: float, high: float) -> float:
        return 10 * np.log10(np.median(power[(bins > low) & (bins < high)]))

    fall = (level(500, 520) - level(4000, 4160)) / 3  # dB an octave, 3 for pink and 6 for brown noise
    assert 3.5 < fall < 5.5
    assert 10 * np.log10(power[(bins > 98) & (bins < 102)].max()) > level(60, 140) + 15


def test_noise_that_would_clip_lowers_the_whole_mix():
    loud = Recording(np.full(RATE, 30_000, np.int16), RATE)
    mixed = noise.with_fans(loud.pcm, RATE, speech_power=0.8, snr_db=0.0, seed=1)
    assert np.abs(mixed.astype(int)).max() == pytest.approx(0.98 * 32767, abs=2)


def digit_folder(tmp_path, takes: int, rate: int = 8000) -> SubjectFolder:
    tone = (8000 * np.sin(np.arange(rate // 2) / 5)).astype(np.int16)
    for number in range(takes):
        soundfile.write(tmp_path / f"{number % 10}_{number // 10}.wav", tone + number, rate, subtype="PCM_16")
    return SubjectFolder("speaker", tuple(sorted(tmp_path.iterdir())))


@pytest.mark.parametrize(("takes", "strings"), [(5, 0), (6, 1), (50, 8), (400, 40)])
def test_strings_of_digits_share_no_take(tmp_path, takes, strings):
    files = [tmp_path / f"{number % 10}_{number}.wav" for number in range(takes)]
    made = sounds.digit_strings(files, seed=3)
    assert [len(string) for string in made] == [6] * strings
    used = [file for string in made for file in string]
    assert len(set(used)) == len(used)
    assert sounds.digit_strings(files, seed=3) == made
    assert takes <= 6 or sounds.digit_strings(files, seed=4) != made


def test_isolated_digits_are_told_by_their_names_and_strung_with_short_pauses(tmp_path):
    settings = Settings.of(Modality.VOICE, [])
    found = material(Modality.VOICE, digit_folder(tmp_path, 20), settings, seed=1)
    assert found.kind == "digit strings"
    assert len(found.loaders) == 3
    recording = found.loaders[0]()
    assert recording.rate == 8000
    assert 6 * 0.5 + 6 * 0.15 <= recording.seconds <= 6 * 0.5 + 6 * 0.3
    (tmp_path / "greeting.wav").write_bytes((tmp_path / "0_0.wav").read_bytes())
    mixed = SubjectFolder("speaker", tuple(sorted(tmp_path.iterdir())))
    assert material(Modality.VOICE, mixed, settings, seed=1).kind == "recordings"


def test_settings_go_to_reader_pipeline_and_protocol():
    settings = Settings.of(Modality.VOICE, ["voice.seconds=3", "operational.enrol=2", "operational.seed=7"])
    assert settings.reading.seconds == 3.0
    assert (settings.operational.enrol, settings.operational.repeats, settings.operational.seed) == (2, 10, 7)
    assert Settings.of(Modality.FINGERPRINT, ["fingerprint.extractor=fast"]).pipeline == {"extractor": "fast"}


def test_a_model_file_is_named_by_the_hash_it_has(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"abc")
    settings = Settings.of(Modality.FACE, [f"face.model={model}"])
    assert settings.pipeline["model_sha256"].startswith("ba7816bf8f01cfea")
    pinned = Settings.of(Modality.FACE, [f"face.model={model}", f"face.model_sha256={'0' * 64}"])
    assert pinned.pipeline["model_sha256"] == "0" * 64
    with pytest.raises(EvaluationError, match="No such file"):
        Settings.of(Modality.FACE, [f"face.model={tmp_path / 'none'}"])


@pytest.mark.parametrize("key", ["nosuch", "face.model", "voice.nosuch", "operational.nosuch", "voice"])
def test_an_unknown_setting_names_those_that_exist(key):
    with pytest.raises(ConfigError, match="no setting of an evaluation of voice") as caught:
        Settings.of(Modality.VOICE, [f"{key}=1"])
    assert all(known in caught.value.remedy for known in known_keys(Modality.VOICE))


@pytest.mark.parametrize("pair", ["voice.seconds", "voice.seconds=", "voice.seconds=long", "voice.seconds=-1"])
def test_a_setting_without_a_usable_value_is_an_error(pair):
    with pytest.raises(ConfigError):
        Settings.of(Modality.VOICE, [pair])
