"""Keys as IPsec ESP of the Linux kernel, through a NETLINK_XFRM client of our own; docs/sinks.md."""

from agent.sinks.xfrm.counters import read_counters
from agent.sinks.xfrm.options import XfrmOptions
from agent.sinks.xfrm.sink import XfrmSink

__all__ = ["XfrmOptions", "XfrmSink", "read_counters"]
