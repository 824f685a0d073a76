"""One presentation before the camera: frames in, prompts and a verdict out, with the frames that recognition gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._dlib import Box, DlibEngine
from agent.biometrics.live_frames import LiveFrames
from agent.biometrics.liveness.cues import Cue, Head
from agent.biometrics.liveness.flashes import FlashTrial
from agent.biometrics.liveness.light import lit
from agent.biometrics.liveness.reflection import Reflection
from agent.biometrics.liveness.tracker import FaceTracker
from agent.biometrics.liveness.trial import Again, Passed, Prompt, Refused, Show, Step, Trial
from hal import Frame
from protocol.flashes import Hue
from protocol.gestures import Gesture

OTHER_FACE = "The face was not the same throughout. One person answers every prompt."


class _Moment:
    """A frame that is kept, with the face's place in it."""

    def __init__(self, frame: Frame, box: Box) -> None:
        self.frame, self.box = frame, box

    def rgb(self) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self.frame.bgr[:, :, ::-1])


class Watch:
    """Looks on while somebody answers `gestures` and then sits before a screen that shows `hues`; a presentation each.

    One straight frame before each prompt and one at the end, and one frame within each gesture and under each colour
    are kept: whoever is recognised in the first kind did all of it.
    """

    def __init__(
        self,
        engine: DlibEngine,
        gestures: Sequence[Gesture],
        step_s: float,
        beginning_s: float,
        hues: Sequence[Hue] = (),
    ) -> None:
        self._engine = engine
        self._tracker = FaceTracker(engine)
        self._trial = Trial(gestures, step_s, beginning_s)
        self._hues = tuple(hues)
        self._flashes: FlashTrial | None = None
        self._head: Head | None = None
        self._straight: list[_Moment] = []
        self._within: list[_Moment] = []

    @property
    def begun(self) -> bool:
        """Whether a prompt was given, so that the person knows of the row of gestures."""
        return bool(self._straight)

    def see(self, frame: Frame) -> Step:
        """What follows from the next frame; raises `BiometricError` for a malformed one, `ModelError`."""
        cue = self._tracker.see(frame)
        self._head = cue.head
        step = self._step(frame, cue)
        if isinstance(step, Again):
            self._tracker.forget()
        elif self._tracker.box is not None:
            self._keep(_Moment(frame, self._tracker.box), step)
        if isinstance(step, Passed) and not self._is_one_face():
            return Refused(OTHER_FACE)
        return step

    def shown(self, at_ns: int) -> None:
        """The screen has had the colour of the last `Show` since `at_ns`, on the clock of the frames."""
        if self._flashes is not None:
            self._flashes.shown(at_ns)

    @property
    def reflection(self) -> Reflection | None:
        """What was measured of the colours, once all were shown."""
        return None if self._flashes is None else self._flashes.reflection

    @property
    def head(self) -> Head | None:
        """The head in the newest frame."""
        return self._head

    @property
    def answered(self) -> bool:
        """Whether the newest frame completed the gesture asked for."""
        return self._trial.answered and self._flashes is None

    def frames(self, refusal: str = "") -> LiveFrames:
        """What recognition gets."""
        frames, places = ([getattr(moment, what) for moment in self._straight] for what in ("frame", "box"))
        return LiveFrames.of(frames, refusal, places)

    def _step(self, frame: Frame, cue: Cue) -> Step:
        if self._flashes is not None:
            light = None if cue.head is None else lit(np.ascontiguousarray(frame.bgr[:, :, ::-1]), cue.head)
            return self._flashes.see(cue, light)
        step = self._trial.see(cue)
        if isinstance(step, Passed) and self._hues:
            self._flashes = FlashTrial(self._hues, self._trial.posture, self._trial.continuity)
            return self._flashes.begin()
        return step

    def _keep(self, moment: _Moment, step: Step) -> None:
        """A face is straight whenever the next prompt comes, and when there is none any more."""
        if self._trial.answered or (isinstance(step, Show) and step.hue is not None):
            self._within.append(moment)
        elif isinstance(step, Prompt | Passed):
            self._straight.append(moment)

    def _is_one_face(self) -> bool:
        straight, within = self._describe(self._straight), self._describe(self._within)
        apart = np.linalg.norm(straight[:, np.newaxis] - straight[np.newaxis], axis=2).max()
        off = np.linalg.norm(within - straight.mean(axis=0), axis=1).max()
        return bool(apart <= parameters.LIVENESS_STRAIGHT_DISTANCE and off <= parameters.LIVENESS_GESTURE_DISTANCE)

    def _describe(self, moments: list[_Moment]) -> NDArray[np.float64]:
        """Descriptors `[moments, 128]`."""
        return np.array([self._describe_one(moment.rgb(), moment.box) for moment in moments])

    def _describe_one(self, rgb: NDArray[np.uint8], box: Box) -> NDArray[np.float64]:
        return self._engine.describe(rgb, self._engine.points(rgb, box))
