import numpy as np
import pytest

from agent.biometrics.finger.alignment import Alignment
from agent.biometrics.finger.comparison import weigh
from agent.biometrics.finger.geometry import Points
from agent.biometrics.finger.prepared import prepare
from tests.agent.biometrics.made import SIDE, finger, press

TURN, SHIFT, BEND = 0.3, (25.0, -18.0), 7.0


def aligned(bend: float) -> Alignment:
    skin = finger(3)
    one, other = prepare(press(skin, 1)), prepare(press(skin, 2, turn=TURN, shift=SHIFT, bend=bend))
    return weigh(one, other)[1]


def moved(x: np.ndarray, y: np.ndarray, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """Where `press` lays places that are in image coordinates."""
    x, y = x - SIDE / 2, y - SIDE / 2
    x, y = x + bend * np.sin(y / 90), y + bend * np.sin(x / 90)
    return (
        SIDE / 2 + np.cos(TURN) * x + np.sin(TURN) * y + SHIFT[0],
        SIDE / 2 - np.sin(TURN) * x + np.cos(TURN) * y + SHIFT[1],
    )


@pytest.mark.parametrize("bend", [0.0, BEND])
def test_places_between_the_minutiae_come_to_lie_where_the_skin_went(bend: float):
    grid = np.linspace(120, 280, 5)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    places = Points(x.astype(np.float32), -y.astype(np.float32), np.zeros(25, np.float32))
    found = aligned(bend).move(places)
    true_x, true_y = moved(x, y, bend)
    assert np.hypot(found.x - true_x, -found.y - true_y).max() < 6.0


def test_a_bent_finger_is_followed_closer_than_a_rigid_motion_could():
    alignment = aligned(BEND)
    whole = Alignment(
        alignment.one, alignment.other, alignment.closeness, alignment.source, alignment.target, reach=1e6
    )
    errors = [
        np.hypot(moved_points.x - alignment.target.x, moved_points.y - alignment.target.y).mean()
        for moved_points in (one.move(alignment.source) for one in (alignment, whole))
    ]
    assert errors[0] < 0.6 * errors[1]


def test_the_inverse_leads_back():
    alignment = aligned(BEND)
    back = alignment.inverse().move(alignment.move(alignment.source))
    assert np.hypot(back.x - alignment.source.x, back.y - alignment.source.y).mean() < 3.0
    assert np.array_equal(alignment.inverse().one, alignment.other)


def test_every_minutia_coincides_with_one_other_at_most():
    alignment = aligned(BEND)
    assert len(set(alignment.one.tolist())) == len(set(alignment.other.tolist())) == len(alignment.one) > 35
