"""Errors that the agent raises for a person to read; every one carries a remedy."""

from __future__ import annotations

from typing import ClassVar

from protocol.problems import ErrorCode, Problem


class AgentError(Exception):
    """Something that the person at the machine can act on: `str(error)` names the cause, `remedy` the way out."""

    exit_code: ClassVar[int] = 1
    default_remedy: ClassVar[str] = "See the agent's log for what went before."

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy or self.default_remedy


class ConfigError(AgentError):
    """The configuration or the command line cannot be used as it is."""

    exit_code = 2
    default_remedy = "Correct the configuration file; docs/agent.md lists every key."


class StateError(AgentError):
    """The state directory lacks something, cannot be written, or holds what the agent did not write."""

    default_remedy = "Check the state directory named by node.state_dir, its owner, and the room on its disk."


class NotJoined(StateError):
    """The node has no identity yet."""

    default_remedy = "Run `keyvigil join --config FILE --token-file FILE` first."


class ProfileError(AgentError):
    """A sealed profile is missing, damaged, or does not open."""

    default_remedy = "Enrol the administrator again with `keyvigil enroll`."


class OpeningUnavailable(AgentError):
    """An opening of a commitment is not kept, or does not open."""

    default_remedy = "Run `keyvigil audit list`; what is not there cannot be had any more."


class AuthorityUnreachable(AgentError):
    """The authority did not answer; `sent` tells whether it may have seen the request."""

    default_remedy = "Check the network and node.authority in the configuration, and that the authority is running."

    def __init__(self, message: str, *, remedy: str | None = None, sent: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.sent = sent


class AuthorityRefused(AgentError):
    """The authority answered with a problem document."""

    default_remedy = "Ask the operator of the authority."

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title, remedy=problem.remedy or None)
        self.problem = problem

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.problem.code is ErrorCode.UNAVAILABLE or self.problem.status in {502, 503, 504}


class NobodyPresent(AgentError):
    """Nobody is at the machine as far as its presence sensor tells, or it could not tell."""

    default_remedy = "Do it at the machine itself; an operator may pass --unattended to a command."


class SinkFailed(AgentError):
    """A key sink could not install or remove keys."""

    default_remedy = "Check the options of the sink in the configuration."


class KeysLost(SinkFailed):
    """All is installed but keys that were sent under here before and lost their sequence numbers: others are needed."""

    default_remedy = (
        "Have the authority issue new keys for this node; what is sent to those peers is dropped until then."
    )


class EnrolmentFailed(AgentError):
    """The captures of an enrolment did not reach the quality that a profile needs."""

    default_remedy = "Run `keyvigil enroll` again with clean sensors, even light and a quiet room."


class BiometricError(AgentError):
    """Features, templates or models that cannot be used."""

    default_remedy = "Capture again; if it repeats, enrol the administrator again."


class StraySample(BiometricError):
    """A sample does not match the others of its enrolment; `index` counts from 0 in the order they were given."""

    default_remedy = "Capture that sample again, with the same finger or the same person."

    def __init__(self, modality: str, index: int) -> None:
        super().__init__(f"{modality} sample {index + 1} does not match the others of this enrolment")
        self.index = index
