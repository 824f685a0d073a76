"""The mapping service: what a node tells of its data plane, and what it is told of a peer's place."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.bounds import Address, Name, Number, Port
from protocol.delivery import Peer
from protocol.levels import ResourceClass
from protocol.messages import Message

WIREGUARD_KEY_BYTES = 32


class DataPlaneReport(Message, frozen=True):
    """All that a node offers to its peers' data planes from now on; what is empty is not offered.

    The endpoint is a proposal: where an operator set one, that one stays.
    """

    wireguard_public: Annotated[bytes, msgspec.Meta(max_length=WIREGUARD_KEY_BYTES)] = b""
    wireguard_port: Port = 0
    endpoint: Address = ""


class MappingAnswer(Message, frozen=True):
    """Who is at an address: a peer that the asking node may associate with, and the version that it sends under."""

    network: Name
    peer: Peer
    resource_class: ResourceClass
    version: Number | None
