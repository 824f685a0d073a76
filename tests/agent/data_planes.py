"""Bundles of two or more nodes of one network that fit one another, as the authority would make them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from protocol.delivery import Association, Direction, KeyBundle, Peer
from protocol.levels import Access, ResourceClass, Rotation, Tier


@dataclass
class Ends:
    """Nodes by name, with the place of each; `epoch` and `version` are those of every source unless told otherwise."""

    places: dict[str, Peer] = field(default_factory=dict)
    network: str = "blue"

    def add(self, name: str, address: str, endpoint: str = "", public: bytes = b"", port: int = 0) -> None:
        node_id = hashlib.sha256(name.encode()).hexdigest()
        self.places[name] = Peer(
            node_id=node_id, name=name, address=address, endpoint=endpoint, wireguard_public=public, wireguard_port=port
        )

    def bundle(
        self,
        name: str,
        epoch: int = 1,
        version: int = 3,
        rotate_s: float = 3600.0,
        without: tuple[str, ...] = (),
        accept: tuple[int, ...] = (),
    ) -> KeyBundle:
        """What `name` gets: outbound keys of `epoch`, inbound ones of `epoch` and of the epochs of `accept`."""
        peers = [peer for peer in self.places.values() if peer.name not in (name, *without)]
        associations = []
        for peer in peers:
            outbound, inbound = (name, peer.name), (peer.name, name)
            associations.append(self._association(outbound, peer, Direction.OUTBOUND, version, epoch))
            associations += [
                self._association(inbound, peer, Direction.INBOUND, version, each) for each in {epoch, *accept}
            ]
        own = self.places[name]
        return KeyBundle(
            network=self.network,
            tier=Tier.HIGH,
            access=Access.FULL,
            rotation=Rotation.STANDARD,
            version=version,
            epoch=epoch,
            rotate_s=rotate_s,
            expires_at=4e9,
            associations=associations,
            address=own.address,
            endpoint=own.endpoint,
            accepts=[version],
            peers=peers,
        )

    def _association(
        self, pair: tuple[str, str], peer: Peer, direction: Direction, version: int, epoch: int
    ) -> Association:
        return Association(
            peer=peer.node_id,
            peer_name=peer.name,
            direction=direction,
            version=version,
            epoch=epoch,
            resource_class=ResourceClass.NORMAL,
            key=hashlib.sha256(repr((*pair, self.network, version, epoch)).encode()).digest(),
            spi=(1 + [*self.places].index(pair[0])) << 12 | epoch,
        )
