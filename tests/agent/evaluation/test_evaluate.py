"""`keyvigil evaluate` on the shipped personas, and on folders that it cannot evaluate."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from agent.biometrics import Modality, VoicePipeline
from agent.cli import run
from agent.evaluation import Bars, Request, Settings, Silent, sections
from agent.evaluation.evaluating import evaluate
from agent.evaluation.report import plain
from tests.agent.test_cli import keyvigil

FAST = ("--set", "fingerprint.extractor=fast", "--set", "operational.repeats=2")
RATES = {"eer", "fnmr_at_fmr", "genuine_attempts", "impostor_attempts", "intervals"}


@pytest.fixture
def refused(capsys):
    """Runs a command that must end with an error of a cause and a remedy, and gives the cause."""

    def refuse(*arguments: str, status: int = 1) -> str:
        assert run(["evaluate", *arguments]) == status
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("error: ") == told.err.count("remedy: ") == 1
        return told.err

    return refuse


@pytest.fixture(scope="module")
def finger_report(fingers: Path, tmp_path_factory) -> dict:
    """What the command wrote about the personas' fingers, with a plot beside it."""
    folder = tmp_path_factory.mktemp("report")
    assert (
        run(["evaluate", "fingerprint", str(fingers), *FAST, "--json", f"{folder}/r.json", "--plot", f"{folder}/r.png"])
        == 0
    )
    assert min(Image.open(folder / "r.png").size) > 800
    return json.loads((folder / "r.json").read_text())


def test_the_report_has_everything_that_is_promised(finger_report: dict):
    assert finger_report["modality"] == "fingerprint"
    assert (finger_report["subjects"], finger_report["samples"], finger_report["material"]) == (3, 15, "impressions")
    assert 0.0 <= finger_report["failure_to_acquire"] < 0.3
    for protocol in ("single", "operational"):
        assert finger_report[protocol].keys() >= RATES
        assert finger_report[protocol]["fnmr_at_fmr"].keys() == {"0.01", "0.001", "0.0001"}
        assert finger_report[protocol]["fnmr_at_fmr"]["0.0001"] is None
        assert len(finger_report[protocol]["intervals"]["eer"]) == 2
    assert finger_report["operational"].keys() >= {
        "enrol_samples",
        "probe_samples",
        "threshold",
        "fnmr",
        "fmr",
        "frr",
        "far",
    }
    assert finger_report["timing_ms"].keys() == {"features_p50", "features_p95", "match_p50", "match_p95"}
    assert all(value > 0 for value in finger_report["timing_ms"].values())
    assert finger_report["versions"].keys() >= {"keyvigil", "parameters", "model"}
    assert finger_report["settings"] == {"fingerprint.extractor": "fast", "operational.repeats": "2"}
    assert finger_report["recommendation"]["statement"]


def test_personas_are_told_apart_and_every_pair_was_compared(finger_report: dict):
    single, operational = finger_report["single"], finger_report["operational"]
    if finger_report["failure_to_acquire"] == 0.0:
        assert (single["genuine_attempts"], single["impostor_attempts"]) == (3 * 10, 3 * 25)
    assert single["eer"] < 0.1
    assert operational["eer"] < 0.05
    assert (operational["enrol_samples"], operational["probe_samples"]) == (4, 1)


def test_discards_are_reported_for_the_total_and_each_measure(finger_report: dict):
    discards = finger_report["error_versus_discard"]
    assert discards["discarded"][0] == 0.0
    assert discards["discarded"][-1] == 0.3
    curves = discards["operational"]["curves"]
    assert {"score", "minutiae"} <= curves.keys()
    assert all(len(curve["fnmr"]) == len(discards["discarded"]) for curve in curves.values())


def test_nothing_in_the_report_is_longer_than_a_curve_or_names_a_file(finger_report: dict, fingers: Path):
    def lists(value) -> list[list]:
        if isinstance(value, dict):
            return [found for each in value.values() for found in lists(each)]
        return [value] if isinstance(value, list) else []

    assert max(map(len, lists(finger_report))) <= 200
    assert ".png" not in json.dumps(finger_report)
    assert str(fingers.parent) not in json.dumps(finger_report)


def test_json_on_standard_output_stands_alone(faces: Path):
    done = keyvigil("evaluate", "face", str(faces), "--json", "-", "--set", "operational.repeats=2")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["subjects"], report["samples"]) == (2, 10)
    # Five samples cannot be five enrolled and three presented.
    assert [each["subject"] for each in report["operational"]["reduced"]] == ["persona-a", "persona-b"]
    assert report["single"]["intervals"]["eer"] is None
    assert "EER" in done.stderr


def test_voices_are_cut_and_noised_copies_are_noticed_and_strangers_are_impostors(voices: Path, tmp_path: Path, capsys):
    own, others = tmp_path / "own", tmp_path / "others"
    for number, persona in enumerate(sorted(voices.iterdir())):
        shutil.copytree(persona, (own if number < 2 else others) / persona.name)
    shutil.copy(next((others / "persona-c").iterdir()), own / "persona-a" / "broken.wav")
    (own / "persona-a" / "broken.wav").write_bytes(b"RIFF")
    shutil.copy(own / "persona-a" / "0.flac", own / "persona-b" / "copy.flac")
    (own / "nobody").mkdir()
    arguments = ("--set", "voice.seconds=2.5", "--impostors", str(others), "--json", "-")
    assert run(["evaluate", "voice", str(own), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["subjects"], report["strangers"]["subjects"], report["material"]) == (2, 1, "recordings")
    assert report["setbacks"]["subjects_without_samples"] == ["nobody"]
    assert {"persona-a": 1} in report["setbacks"]["samples_left_out"].values()
    assert report["setbacks"]["duplicate_samples"] == 1
    assert report["single"]["impostor_subject_pairs"] == 3
    assert run(["evaluate", "voice", str(own), *arguments, "--set", "voice.noise_snr_db=20"]) == 0
    noisy = json.loads(capsys.readouterr().out)
    assert noisy["single"]["det"] != report["single"]["det"]
    assert noisy["setbacks"]["duplicate_samples"] == 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report(voices: Path):
    pipeline = VoicePipeline()

    def rates(seed: int) -> str:
        settings = Settings.of(Modality.VOICE, [f"operational.seed={seed}", "operational.repeats=2"])
        report = plain(evaluate(Request(Modality.VOICE, voices, settings, replicates=50), Silent(), pipeline))
        return json.dumps([report["single"], report["operational"]])

    first = rates(1)
    assert first == rates(1)
    assert first != rates(2)


def test_a_registered_section_stands_in_the_report_under_its_name(fingers: Path):
    seen = []

    def spoken(folder, seed, watcher):
        seen.append((folder.name, seed))
        return {"accepted": 0.9}

    registry = {Modality.VOICE: {"spoken_digits": spoken, "absent": lambda *_: None}}
    folder = type("Folder", (), {"name": "x"})()
    assert sections.measure(Modality.VOICE, folder, 5, Silent(), registry) == {"spoken_digits": {"accepted": 0.9}}
    assert sections.measure(Modality.FACE, folder, 5, Silent(), registry) == {}
    assert seen == [("x", 5)]


def test_folders_that_allow_no_evaluation_are_refused(refused, tmp_path: Path, fingers: Path):
    assert "does not exist" in refused("fingerprint", str(tmp_path / "none"))
    assert "no subject's folder" in refused("fingerprint", str(tmp_path))
    shutil.copytree(fingers / "persona-a", tmp_path / "alone" / "persona-a")
    assert "only one subject" in refused("fingerprint", str(tmp_path / "alone"), *FAST)
    (tmp_path / "blank" / "a").mkdir(parents=True)
    (tmp_path / "blank" / "a" / "1.png").write_bytes(b"")
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "blank" / "a" / "2.png")
    cause = refused("fingerprint", str(tmp_path / "blank"), *FAST)
    assert "no sample became features: the file holds no picture that can be read; the reader sent an image" in cause


def test_wrong_arguments_are_refused_before_the_work(refused, tmp_path: Path, fingers: Path):
    assert "Settings that exist: fingerprint.extractor" in refused(
        "fingerprint", str(fingers), "--set", "x.y=1", status=2
    )
    assert "extractor" in refused("fingerprint", str(fingers), "--set", "fingerprint.extractor=magic")
    assert "does not end in" in refused("fingerprint", str(fingers), "--plot", str(tmp_path / "page.txt"), status=2)
    assert "cannot be written" in refused("fingerprint", str(fingers), "--plot", str(tmp_path / "no" / "page.png"))
    refused("iris", str(fingers), status=2)
    refused("fingerprint", str(fingers), "--fmr", "0", status=2)


def test_without_matplotlib_a_plot_is_refused_with_the_extra_that_has_it(fingers: Path, tmp_path: Path):
    hidden = tmp_path / "matplotlib.py"
    hidden.write_text("raise ImportError('hidden')\n")
    path = os.pathsep.join([str(tmp_path), str(Path.cwd())])
    done = keyvigil("evaluate", "fingerprint", str(fingers), "--plot", str(tmp_path / "p.png"), PYTHONPATH=path)
    assert done.returncode == 1
    assert "matplotlib is not installed" in done.stderr
    assert "keyvigil[evaluation]" in done.stderr
    assert "Traceback" not in done.stderr


def test_matplotlib_is_not_imported_unless_something_is_plotted():
    script = "import sys, agent.commands.evaluate; sys.exit('matplotlib' in sys.modules or 'soundfile' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_bars_leave_the_terminal_as_it_was_when_interrupted():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True)
    with pytest.raises(KeyboardInterrupt), Bars(console) as bars:
        bars.expect("features", 3)
        bars.step("features")
        raise KeyboardInterrupt
    assert "1/3" in screen.getvalue()
    assert screen.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is shown again


@pytest.mark.realdata
@pytest.mark.slow
def test_real_fingers_by_the_fvc_pairs(real_data: Path, capsys):
    folder = str(real_data / "fingerprint" / "FVC2002_DB1_B")
    assert run(["evaluate", "fingerprint", folder, "--json", "-", "--set", "fingerprint.extractor=fast"]) == 0
    report = json.loads(capsys.readouterr().out)
    acquired = 80 - round(80 * report["failure_to_acquire"])
    assert (
        report["single"]["genuine_attempts"] + report["single"]["impostor_attempts"] == acquired * (acquired - 1) // 2
    )
    assert report["operational"]["eer"] < 0.05
