"""How a finger settles and a sensor ages, as pictures and through a reader's model."""

from __future__ import annotations

import time

import numpy as np
import pytest

from drivers.nb1010 import Nb1010Driver
from drivers.uru4000 import Uru4000Driver
from hal import Deadline
from simulators.devices.finger import AT_ONCE, FLAWLESS, IN_USE, FingerBehaviour, SensorWear
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.press_sensor import PressSensorModel, SensorLife
from simulators.devices.uru4000_model import Uru4000Model
from simulators.devices.usb import InProcessBackend, Setup, Transfer


def ridges(height: int = 180, width: int = 256) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (128 + 120 * np.sin((rows + 2 * columns) / 4)).astype(np.uint8)


def chance(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def dark(picture: np.ndarray, below: int = 200) -> int:
    return int((picture < below).sum())


def test_contact_grows_and_darkens_until_the_finger_has_settled() -> None:
    still = FingerBehaviour(drift=0, tremor=0)
    seen = [still.impression(ridges(), seconds, chance()) for seconds in (0.0, 0.1, 0.2, 0.3)]
    areas = [dark(picture, 254) for picture in seen]
    assert areas == sorted(areas) and areas[0] < 0.3 * areas[-1]
    assert [int(picture.min()) for picture in seen] == sorted((int(p.min()) for p in seen), reverse=True)
    np.testing.assert_array_equal(seen[-1], ridges())


def test_lines_wander_less_once_the_finger_is_at_rest() -> None:
    finger = FingerBehaviour(first_area=1, first_contrast=1, drift=20, tremor=0.5)
    early, late = (finger.impression(ridges(), seconds, chance()) for seconds in (0.0, 1.0))
    moved = [np.mean(picture != ridges()) for picture in (early, late)]
    assert moved[0] > moved[1] > 0
    assert early.shape == ridges().shape


def test_a_perfect_finger_on_a_perfect_sensor_changes_no_pixel() -> None:
    assert AT_ONCE.impression(ridges(), 0, chance()) is not None
    np.testing.assert_array_equal(AT_ONCE.impression(ridges(), 0, chance()), ridges())
    np.testing.assert_array_equal(FLAWLESS.seen(ridges(), chance()), ridges())


def test_the_same_chance_gives_the_same_picture() -> None:
    finger, wear = FingerBehaviour(), SensorWear(noise=4, dead_pixels=0.01, scratches=2, seed=5)
    first, again, other = (wear.seen(finger.impression(ridges(), 0.1, c), c) for c in (chance(), chance(), chance(2)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_gain_and_exposure() -> None:
    flat = np.full((4, 4), 155, np.uint8)
    assert (SensorWear(gain=0.5).seen(flat, chance()) == 205).all()
    assert (SensorWear(exposure=-30).seen(flat, chance()) == 125).all()
    assert (SensorWear(exposure=200).seen(flat, chance()) == 255).all()


def test_noise_has_the_spread_that_was_asked_for_and_changes_from_image_to_image() -> None:
    flat, random = np.full((200, 200), 128, np.uint8), chance()
    first, second = (SensorWear(noise=3).seen(flat, random) for _ in range(2))
    assert first.std() == pytest.approx(3, rel=0.05)
    assert (first != second).any()


def test_damage_stays_where_it_is() -> None:
    wear = SensorWear(dead_pixels=0.002, dead_columns=3, scratches=4, seed=9)
    flat = np.full((100, 120), 128, np.uint8)
    first, second = (wear.seen(flat, chance(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first == 0).all(axis=0).sum() == 3
    assert (first == 255).sum() > 60
    assert (SensorWear(scratches=4, seed=10).seen(flat, chance()) != wear.seen(flat, chance())).any()


class HandClock:
    """Time as the test sets it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic_ns(self) -> int:
        return int(self.seconds * 1e9)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def model_and_driver(kind: str, life: SensorLife) -> tuple[PressSensorModel, object]:
    model = Uru4000Model(life=life) if kind == "uru4000" else Nb1010Model(life=life)
    driver = Uru4000Driver if kind == "uru4000" else Nb1010Driver
    return model, driver(backend=InProcessBackend([model]))


@pytest.mark.parametrize("kind", ["uru4000", "nb1010"])
def test_a_reader_that_images_too_early_gives_a_partial_pale_image_and_then_a_whole_one(kind: str) -> None:
    clock = HandClock()
    model, driver = model_and_driver(kind, SensorLife(finger=FingerBehaviour(drift=0, tremor=0), clock=clock))
    picture = ridges(model.field.height, model.field.width)
    with driver.open({}) as reader:
        model.place(picture, model.field.dpi)
        clock.seconds += 0.06
        early = reader.capture(Deadline.after(20)).pixels
        clock.seconds += 1
        whole = reader.capture(Deadline.after(20)).pixels
    assert dark(early, 250) < 0.6 * dark(whole, 250)
    assert early.min() > whole.min() + 50


def test_the_thermal_reader_feels_a_finger_only_once_enough_of_it_lies_there() -> None:
    clock = HandClock()
    model = Nb1010Model(life=SensorLife(finger=FingerBehaviour(), clock=clock))
    felt = []
    model.place(ridges(), 385)
    for seconds in (0.0, 0.02, 0.3):
        clock.seconds = seconds
        model.write(0x02, bytes.fromhex("8038010008000000"))
        model.submit(0x83, Transfer(16, lambda _status, data: felt.append(data[12])))
    assert felt == sorted(felt)
    assert felt[0] < 0x30 < felt[2]


def test_a_model_that_is_not_instant_is_not_perfect() -> None:
    model = Nb1010Model(instant=False)
    model.place(ridges(), 385)
    assert (model._glass.view() != ridges()).any()


def nb1010_image(model: Nb1010Model, commands: tuple[str, ...]) -> bytes:
    got: list[bytes] = []
    for command in commands:
        model.write(0x02, bytes.fromhex(command))
    for _ in range(len(commands) + 90):
        model.submit(0x83, Transfer(540, lambda _status, data: got.append(data)))
    return b"".join(frame[25:537] for frame in got if len(frame) == 540)


PREPARE, CAPTURE = "800d03000c00000000040000", "801204002000000002" + "00" * 19 + "20000000"


def test_a_capture_without_preparation_images_nothing() -> None:
    model = Nb1010Model()
    model.place(ridges(), 385)
    assert set(nb1010_image(model, (CAPTURE,))) == {255}
    assert nb1010_image(model, (PREPARE, CAPTURE)) == ridges().tobytes()
    assert set(nb1010_image(model, (CAPTURE,))) == {255}, "one preparation serves one image"


def test_the_4500_asleep_takes_no_picture_and_a_new_mode_ends_the_old_one() -> None:
    model = Uru4000Model()
    images: list[bytes] = []
    model.submit(0x82, Transfer(1 << 20, lambda _status, data: images.append(data)))
    model.control(Setup(0x40, 4, 0x4E, 0, 1), b"\x20")
    assert images == []
    assert model.control(Setup(0xC0, 4, 0x34, 0, 4), b"") == bytes(4), "no key was asked for yet"


def test_an_image_under_way_is_given_up_with_its_mode() -> None:
    model = Uru4000Model(instant=False)
    images: list[bytes] = []
    model.control(Setup(0x40, 4, 0x07, 0, 1), b"\x01")
    model.submit(0x82, Transfer(1 << 20, lambda _status, data: images.append(data)))
    deadline = Deadline.after(10)
    while model.control(Setup(0xC0, 4, 0x07, 0, 1), b"")[0] & 0x80:
        deadline.check("waking")
    model.control(Setup(0x40, 4, 0x4E, 0, 1), b"\x20")
    model.control(Setup(0x40, 4, 0x4E, 0, 1), b"\x70")
    model._send_image()
    assert images == []


def test_a_reader_in_real_time_needs_some() -> None:
    life = SensorLife(AT_ONCE, IN_USE)
    slow, quick = Uru4000Model(instant=False, life=life), Uru4000Model(life=life)
    spent = []
    for model in (slow, quick):
        model.place(ridges(290, 384), 512)
        with Uru4000Driver(backend=InProcessBackend([model])).open({}) as reader:
            started = time.monotonic()
            reader.capture(Deadline.after(20))
            spent.append(time.monotonic() - started)
    assert spent[0] > 0.19
    assert spent[0] > spent[1]
