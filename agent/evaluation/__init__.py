"""Evaluation of the production pipelines on a folder of samples, in the terms of ISO/IEC 19795-1."""

from agent.evaluation.errors import EvaluationError
from agent.evaluation.evaluating import Evaluation, Request, evaluate
from agent.evaluation.progress import Bars, Silent, Watcher
from agent.evaluation.report import plain
from agent.evaluation.settings import Settings, known_keys

__all__ = [
    "Bars",
    "Evaluation",
    "EvaluationError",
    "Request",
    "Settings",
    "Silent",
    "Watcher",
    "evaluate",
    "known_keys",
    "plain",
]
