"""A small authority in memory: an engine, a clock that stands until moved, nodes whose delivery keys we hold."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection, insert, select, update

from authority import challenges
from authority.keys import FileKek
from authority.runtime import Push, Runtime
from authority.store import schema
from authority.trust import Policy, default_policy
from protocol.codec import decode, encode
from protocol.delivery import Envelope, KeyBundle, SealedDelivery, delivery_info, envelope_signing_input
from protocol.hpke import open_sealed
from protocol.messages import DeliveryAck, DeliveryEvent, ModalityModel
from tests.databases import uncommitted


def tpm2b_public(key: ec.EllipticCurvePublicKey) -> bytes:
    """TPM2B_PUBLIC of an unrestricted ECDH key on P-256 (TPM 2.0 Part 2, 12.2.4 and 12.2.5)."""
    numbers = key.public_numbers()
    header = bytes.fromhex("0023 000b 00020072 0000 0010 0010 0003 0010")
    point = b"".join(b"\x00\x20" + value.to_bytes(32, "big") for value in (numbers.x, numbers.y))
    return len(header + point).to_bytes(2, "big") + header + point


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@dataclass
class World:
    """`conn` is one open transaction; `clock` is moved by hand; randomness is a seeded generator."""

    conn: Connection
    policy: Policy
    clock: float = 1_700_000_000.0
    seed: random.Random = field(default_factory=lambda: random.Random(7))
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    generation: int = 1

    def __post_init__(self) -> None:
        self.kos_key = ec.generate_private_key(ec.SECP256R1())
        self.approval_key = ec.generate_private_key(ec.SECP256R1())
        self.kek = FileKek(self.seed.randbytes(32), self.seed.randbytes)

    @property
    def rt(self) -> Runtime:
        return Runtime(
            self.policy,
            lambda: self.clock,
            self.seed.randbytes,
            self.kek,
            self.kos_key,
            self.approval_key,
            self.generation,
        )

    def node(self, name: str, *, state: str = "pending", score: int = 0, lab: bool = False) -> str:
        """A joined node; gives its id."""
        key = ec.generate_private_key(ec.SECP256R1())
        node_id = hashlib.sha256(name.encode()).hexdigest()
        self.keys[node_id] = key
        tier = "high" if score > 800 else "medium" if score > 500 else "low"
        self.conn.execute(
            insert(schema.node).values(
                id=node_id,
                name=name,
                state=state,
                lab=lab,
                ownership="taken",
                ek_public=b"",
                ak_public=b"",
                delivery_public=tpm2b_public(key.public_key()),
                certificate_sha256="",
                certificate_not_after=0.0,
                reference_pcrs="{}",
                devices="[]",
                joined_at=self.clock,
                score=score,
                tier=tier,
            )
        )
        return node_id

    def enrol(self, node_id: str, admin: str = "ada", modalities: Sequence[str] = ("face", "fingerprint")) -> str:
        """An approved profile; gives its record id."""
        if self.conn.scalar(select(schema.administrator.c.name).where(schema.administrator.c.name == admin)) is None:
            self.conn.execute(insert(schema.administrator).values(name=admin, created_at=self.clock))
        record_id = self.seed.randbytes(16).hex()
        models = [ModalityModel(modality=name, model="m", parameters="1") for name in modalities]
        self.conn.execute(
            insert(schema.profile).values(
                record_id=record_id,
                enrolment_id=self.seed.randbytes(16).hex(),
                node_id=node_id,
                admin=admin,
                state="active",
                nonce=b"",
                release_share=b"",
                modalities=encode(models).decode(),
                created_at=self.clock,
                expires_at=self.clock + 600,
            )
        )
        return record_id

    def row(self, node_id: str) -> object:
        return self.conn.execute(select(schema.node).where(schema.node.c.id == node_id)).one()

    def set_node(self, node_id: str, **values: object) -> None:
        self.conn.execute(update(schema.node).where(schema.node.c.id == node_id).values(**values))

    def alerts(self, node_id: str | None = None) -> list[tuple[str, str]]:
        row = schema.alert
        query = select(row.c.severity, row.c.kind).order_by(row.c.id)
        return [
            tuple(each)
            for each in self.conn.execute(query if node_id is None else query.where(row.c.node_id == node_id))
        ]

    def audit_kinds(self) -> list[str]:
        return [*self.conn.scalars(select(schema.audit.c.kind).order_by(schema.audit.c.seq))]

    def answered(self, pushes: list[Push]) -> list[Push]:
        """All that is pushed if every node installs what it is sent, and says so, until nothing follows."""
        said, found = DeliveryAck(installed=True, sinks=["file"]), [*pushes]
        while deliveries := [(node, event) for node, event in pushes if isinstance(event, DeliveryEvent)]:
            pushes = [
                push
                for node, event in deliveries
                for push in challenges.acknowledge(self.conn, self.rt, node, event.number, said, self.clock)
            ]
            found += pushes
        return found

    def open(self, push: Push) -> KeyBundle:
        """What the node finds in a delivery: verified, opened with its own key by the protocol's HPKE."""
        node_id, event = push
        assert isinstance(event, DeliveryEvent)
        envelope = decode(event.envelope, Envelope)
        verify(self.kos_key.public_key(), envelope)
        sealed = decode(envelope.payload, SealedDelivery)
        assert (sealed.node_id, sealed.number, sealed.generation) == (node_id, event.number, self.generation)
        return self.unseal(node_id, sealed)

    def unseal(self, node_id: str, sealed: SealedDelivery) -> KeyBundle:
        key = self.keys[node_id]
        info = delivery_info(sealed.node_id, sealed.network, sealed.generation, sealed.number)

        def agree(enc: bytes) -> bytes:
            return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc))

        return decode(open_sealed(sealed.enc, sealed.ciphertext, info, point(key.public_key()), agree), KeyBundle)

    def bundles(self, pushes: list[Push]) -> dict[str, KeyBundle]:
        """The newest bundle per node name among pushes."""
        names = dict(self.conn.execute(select(schema.node.c.id, schema.node.c.name)).all())
        return {names[push[0]]: self.open(push) for push in pushes if isinstance(push[1], DeliveryEvent)}


def verify(public: ec.EllipticCurvePublicKey, envelope: Envelope) -> None:
    r, s = (int.from_bytes(envelope.signature[at : at + 32], "big") for at in (0, 32))
    public.verify(encode_dss_signature(r, s), envelope_signing_input(envelope.payload), ec.ECDSA(hashes.SHA256()))


@contextmanager
def open_world(policy: Policy | None = None) -> Iterator[World]:
    with uncommitted() as conn:
        yield World(conn, policy or default_policy())


def devices(*drivers: str) -> str:
    return json.dumps([{"kind": "enclave", "driver": driver} for driver in drivers])
