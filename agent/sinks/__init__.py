"""Key sinks: where delivered keys take effect."""

from agent.sinks._interface import (
    SINK_GROUP,
    DataPlaneFacts,
    HeldKeys,
    KeySink,
    load_sink,
    load_sinks,
    offered,
    serves,
    sink_options,
    withdraw,
)

__all__ = [
    "SINK_GROUP",
    "DataPlaneFacts",
    "HeldKeys",
    "KeySink",
    "load_sink",
    "load_sinks",
    "offered",
    "serves",
    "sink_options",
    "withdraw",
]
