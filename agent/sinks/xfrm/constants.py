"""Numbers of the kernel's interface: include/uapi/linux/netlink.h and include/uapi/linux/xfrm.h, Linux 6.1."""

from __future__ import annotations

from enum import IntEnum, IntFlag

NETLINK_XFRM = 6
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
"""An error repeats the header of what it answers and not its body, in which a key stands."""
NETLINK_EXT_ACK = 11
NLMSG_ERROR = 2
NLMSG_DONE = 3


class MessageFlag(IntFlag):
    """NLM_F_*."""

    REQUEST = 0x01
    MULTI = 0x02
    ACK = 0x04
    DUMP_INTR = 0x10
    ROOT = 0x100
    CAPPED = 0x100
    EXCL = 0x200
    DUMP = 0x300
    ACK_TLVS = 0x200
    CREATE = 0x400


NLMSGERR_ATTR_MSG = 1


class MessageType(IntEnum):
    """XFRM_MSG_*."""

    NEWSA = 0x10
    DELSA = 0x11
    GETSA = 0x12
    NEWPOLICY = 0x13
    DELPOLICY = 0x14
    GETPOLICY = 0x15
    UPDPOLICY = 0x19
    UPDSA = 0x1A


class Attribute(IntEnum):
    """XFRMA_*."""

    TMPL = 5
    ALG_AEAD = 18
    MARK = 21
    REPLAY_ESN_VAL = 23
    IF_ID = 31


class Mode(IntEnum):
    """XFRM_MODE_*."""

    TRANSPORT = 0
    TUNNEL = 1


class PolicyDirection(IntEnum):
    """XFRM_POLICY_IN, _OUT and _FWD."""

    IN = 0
    OUT = 1
    FWD = 2


class Action(IntEnum):
    """XFRM_POLICY_ALLOW and _BLOCK."""

    ALLOW = 0
    BLOCK = 1


STATE_ESN = 128
"""XFRM_STATE_ESN, of `xfrm_usersa_info.flags`."""
NO_LIMIT = 2**64 - 1
"""XFRM_INF."""
LARGEST_REPLAY_WINDOW = 4096
"""XFRMA_REPLAY_ESN_MAX, in packets."""
ESP = 50
"""IPPROTO_ESP (RFC 4303)."""
AEAD = b"rfc4106(gcm(aes))"
ICV_BITS = 128
