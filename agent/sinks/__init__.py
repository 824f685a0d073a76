"""Key sinks: where delivered keys take effect."""

from agent.sinks._interface import SINK_GROUP, HeldKeys, KeySink, load_sink, load_sinks, sink_options

__all__ = ["SINK_GROUP", "HeldKeys", "KeySink", "load_sink", "load_sinks", "sink_options"]
