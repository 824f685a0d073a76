"""The section `spoken_digits` of a voice report: strings of isolated digits, verified as those of a challenge are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics.digits._mel import RATE
from agent.biometrics.digits._network import DigitNetwork
from agent.biometrics.digits.evaluation import Outcome, Plan, Share, evaluate
from agent.evaluation.folder import Folder
from agent.evaluation.progress import Watcher
from agent.evaluation.sounds import are_isolated_digits, digit_takes

WHAT = "spoken digits"
_LEAST_DIGITS = 6
"""With takes of fewer different digits a person's strings say little."""

Takes = dict[int, list[NDArray[np.float32]]]


def spoken_digits(folder: Folder, seed: int, watcher: Watcher) -> Mapping[str, Any] | None:
    """Acceptance of the right string at the first try, of random others and of near ones; None without isolated digits.

    `alone` is whoever speaks, `own` with half of the person's takes enrolled (null with fewer than four a digit).
    """
    voices = {subject.name: _takes(subject.files) for subject in folder.subjects if are_isolated_digits(subject.files)}
    voices = {name: takes for name, takes in voices.items() if len(takes) >= _LEAST_DIGITS}
    if not voices:
        return None
    plan = Plan(seed=seed)
    watcher.expect(WHAT, plan.attempts * len(voices))
    result = evaluate(DigitNetwork(), voices, plan, lambda: watcher.step(WHAT))
    own = None if result.own is None else _plain(result.own)
    return {"subjects": len(voices), "digits": plan.length, "alone": _plain(result.alone), "own": own}


def _takes(files: Sequence[Path]) -> Takes:
    import soxr

    return {
        digit: [soxr.resample(take.pcm.astype(np.float32) / 32768, take.rate, RATE) for take in takes]
        for digit, takes in digit_takes(files).items()
    }


def _plain(outcome: Outcome) -> dict[str, Any]:
    near = {str(places): _share(share) for places, share in outcome.near.items()}
    return {"right": _share(outcome.right), "random_other": _share(outcome.others), "places_that_differ": near}


def _share(share: Share) -> dict[str, Any]:
    return {
        "accepted": share.accepted,
        "attempts": share.count,
        "rate": share.rate if share.count else None,
        "interval": [share.low, share.high],
    }
