"""What can be wrong with an evaluation that somebody asked for."""

from __future__ import annotations

from agent.errors import AgentError


class EvaluationError(AgentError):
    """The folder, its samples or what is installed do not allow the evaluation."""

    default_remedy = "Lay the samples out as DIR/<subject>/<sample>; docs/evaluation.md says which files are read."


class LeftOut(EvaluationError):
    """One sample that cannot be used; `str(error)` says why in words that are the same for every such sample."""

    default_remedy = "Replace or remove the file."
