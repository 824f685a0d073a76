"""The trust core: policy, score, tiers, states. Pure functions, the clock passed in, integer thousandths."""

from authority.trust.behaviour import Conduct, Origin, Signal, conduct, dominates
from authority.trust.behaviour_rules import Worth
from authority.trust.course import Order, Performed, Point, Story, facts, follow
from authority.trust.policy import Policy, default_policy
from authority.trust.policy_file import PolicyError, load_policy, parse_policy
from authority.trust.score import (
    Assessment,
    Circumstances,
    Presentation,
    PresentationKind,
    assess,
    is_too_fast,
    quality_value,
    speed_value,
)
from authority.trust.states import (
    CUT_OFF,
    OPEN_CHALLENGES,
    ChallengeState,
    Facts,
    OperatorAction,
    TransitionRefused,
    next_state,
    ordered_state,
)
from authority.trust.tiers import Grant, choose_version, distribute_key, effective_access, tier_of

__all__ = [
    "CUT_OFF",
    "OPEN_CHALLENGES",
    "Assessment",
    "ChallengeState",
    "Circumstances",
    "Conduct",
    "Facts",
    "Grant",
    "OperatorAction",
    "Order",
    "Origin",
    "Performed",
    "Point",
    "Policy",
    "PolicyError",
    "Presentation",
    "PresentationKind",
    "Signal",
    "Story",
    "TransitionRefused",
    "Worth",
    "assess",
    "choose_version",
    "conduct",
    "default_policy",
    "distribute_key",
    "dominates",
    "effective_access",
    "facts",
    "follow",
    "is_too_fast",
    "load_policy",
    "next_state",
    "ordered_state",
    "parse_policy",
    "quality_value",
    "speed_value",
    "tier_of",
]
