"""Whether a living person answers the challenge before the camera: cues of single frames, judged as a sequence.

`FaceTracker` turns frames into cues, `Trial` judges cues against the gestures that the authority drew, `Watch` joins
the two, keeps the frames that recognition gets, and checks that they all show one face. Where a screen lights the face,
`FlashTrial` judges what it sends back.
"""

from agent.biometrics.live_frames import LiveFrames
from agent.biometrics.liveness.cues import Cue, Head
from agent.biometrics.liveness.flashes import FlashTrial
from agent.biometrics.liveness.tracker import FaceTracker
from agent.biometrics.liveness.trial import Again, Passed, Prompt, Refused, Show, Step, Trial, Wait
from agent.biometrics.liveness.watch import Watch

__all__ = [
    "Again",
    "Cue",
    "FaceTracker",
    "FlashTrial",
    "Head",
    "LiveFrames",
    "Passed",
    "Prompt",
    "Refused",
    "Show",
    "Step",
    "Trial",
    "Wait",
    "Watch",
]
