"""The simulated camera, watched by a plain HTTP client."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from simulators.devices.camera_stream import CameraStream
from simulators.devices.faults import Fault, FaultOrder

HEIGHT, WIDTH = 32, 48


@pytest.fixture
def camera() -> Iterator[CameraStream]:
    with CameraStream(size=(HEIGHT, WIDTH), fps=50) as camera:
        yield camera


class Viewer:
    """Reads parts of the multipart body one by one."""

    def __init__(self, camera: CameraStream) -> None:
        host, _, port = camera.url.removeprefix("http://").partition("/")[0].partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=5)
        self._connection.request("GET", "/stream.mjpg")
        self.response = self._connection.getresponse()

    def picture(self) -> np.ndarray:
        assert self.response.readline() == b"--frame\r\n"
        fields = http.client.parse_headers(self.response)
        body = self.response.read(int(fields["Content-Length"]))
        assert self.response.readline() == b"\r\n"
        return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self._connection.close()


def flat(level: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level, np.uint8)


def test_media_type_and_size(camera: CameraStream) -> None:
    with Viewer(camera) as viewer:
        assert viewer.response.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=frame"
        assert viewer.picture().shape == (HEIGHT, WIDTH, 3)


def test_every_viewer_sees_what_is_shown(camera: CameraStream) -> None:
    camera.show(lambda _: flat(180))
    with Viewer(camera) as one, Viewer(camera) as other:
        assert abs(int(one.picture().mean()) - 180) < 3
        assert abs(int(other.picture().mean()) - 180) < 3


def test_seconds_start_at_zero_with_every_scene(camera: CameraStream) -> None:
    asked: list[float] = []

    def scene(seconds: float) -> np.ndarray:
        asked.append(seconds)
        return flat(90)

    with Viewer(camera) as viewer:
        viewer.picture()
        camera.show(scene)
        while len(asked) < 3:
            viewer.picture()
    assert asked == sorted(asked)
    assert asked[0] < 0.5


def test_nothing_is_rendered_while_nobody_watches(camera: CameraStream) -> None:
    rendered = threading.Event()

    def scene(_: float) -> np.ndarray:
        rendered.set()
        return flat(90)

    camera.show(scene)
    assert not rendered.wait(0.1)
    with Viewer(camera):
        assert rendered.wait(5)


def test_stall_keeps_the_connection_and_resume_goes_on(camera: CameraStream) -> None:
    with Viewer(camera) as viewer:
        viewer.picture()
        camera.stall()
        assert camera.clients == 1
        camera.resume()
        viewer.picture()


def test_drop_cuts_viewers_and_newcomers_until_resume(camera: CameraStream) -> None:
    with Viewer(camera) as viewer:
        viewer.picture()
        camera.drop()
        assert viewer.response.read().count(b"--frame") < 5
    with pytest.raises(OSError), Viewer(camera):
        pass
    camera.resume()
    with Viewer(camera) as viewer:
        viewer.picture()


@pytest.mark.parametrize(("fault", "status"), [(Fault.BUSY, 503), (Fault.PERMISSION_DENIED, 401)])
def test_newcomers_are_refused_and_viewers_stay(camera: CameraStream, fault: Fault, status: int) -> None:
    with Viewer(camera) as viewer:
        camera.inject(FaultOrder(fault))
        with Viewer(camera) as newcomer:
            assert newcomer.response.status == status
        viewer.picture()
    camera.mend()
    with Viewer(camera) as viewer:
        assert viewer.response.status == 200


def test_wrong_descriptor_is_a_web_page(camera: CameraStream) -> None:
    camera.inject(FaultOrder(Fault.WRONG_DESCRIPTOR))
    with Viewer(camera) as viewer:
        assert viewer.response.getheader("Content-Type") == "text/html"


def test_short_read_sends_less_than_it_says(camera: CameraStream) -> None:
    whole = camera.part()
    camera.inject(FaultOrder(Fault.SHORT_READ))
    part = camera.part()
    assert whole is not None
    assert part is not None
    assert len(part) < len(whole)
    assert part.partition(b"\r\n\r\n")[0] == whole.partition(b"\r\n\r\n")[0]


def test_fault_that_a_camera_cannot_have_is_refused(camera: CameraStream) -> None:
    with pytest.raises(ValueError, match="lockout"):
        camera.inject(FaultOrder(Fault.LOCKOUT))


def test_picture_of_the_wrong_shape_is_named(camera: CameraStream) -> None:
    camera.show(lambda _: np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"\(2, 2, 3\)"):
        camera.picture()


def test_close_ends_threads_and_closes_twice() -> None:
    before = threading.active_count()
    camera = CameraStream(size=(HEIGHT, WIDTH))
    with Viewer(camera) as viewer:
        viewer.picture()
        camera.close()
    camera.close()
    assert threading.active_count() == before
