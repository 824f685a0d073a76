"""EF01 fingerprint modules (R30x, AS608, ZFM-20) over a serial port, clean-room over pyserial.

Packets, commands and confirmations are those of the modules' user manuals. The wire has no retransmission: an image is
fetched as often as it takes, eight times at the most, and merged.
"""

from drivers.ef01._driver import Ef01Driver
from drivers.ef01._merge import merge_transfers
from drivers.ef01._options import Ef01Options
from drivers.ef01._packets import Packet, PacketKind, find_packets
from drivers.ef01._reader import Ef01Reader
from drivers.ef01._session import SystemParameters

__all__ = [
    "Ef01Driver",
    "Ef01Options",
    "Ef01Reader",
    "Packet",
    "PacketKind",
    "SystemParameters",
    "find_packets",
    "merge_transfers",
]
