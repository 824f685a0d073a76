"""What the node notices of traffic by itself: counters of its packet filter, flows of its connection tracking."""

from agent.signals.settings import ConntrackSection, CounterSection, SignalsSection
from agent.signals.watcher import NetworkWatcher, build_watcher

__all__ = ["ConntrackSection", "CounterSection", "NetworkWatcher", "SignalsSection", "build_watcher"]
