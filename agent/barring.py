"""Which keys a sink is not to be given again: what it sent under and lost would repeat nonces."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from protocol.delivery import Association, Direction, KeyBundle

REMEMBERED = 64
"""Marks of keys sent under that are kept; the authority has long retired the ones before."""


class NetworkRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The newest accepted delivery of one network; written before its keys are installed.

    `cleared` tells that the sinks were emptied since; `sha256` is that of the envelope. `sent_under` are marks of the
    keys that sinks were given to send under, `barred` those that a sink, by its name, has lost since and is not given
    again: a sequence number that starts anew under the same key would repeat a nonce. `lacking` while one goes without.
    """

    generation: int
    number: int
    sha256: str
    expires_at: float
    tier: str
    access: str
    rotation: str
    version: int | None
    epoch: int
    associations: int
    installed: bool = False
    cleared: bool = False
    sent_under: list[int] = []
    barred: dict[str, list[int]] = {}
    lacking: bool = False


def follow(record: NetworkRecord, bundle: KeyBundle, before: NetworkRecord | None) -> NetworkRecord:
    """The record of a new bundle, with what the one before knew of keys that were sent under or lost."""
    barred = {} if before is None else before.barred
    offered = sorted({_mark(each) for each in _outbound(bundle)})
    old = [] if before is None else [each for each in before.sent_under if each not in offered]
    lacking = any(mark in marks for mark in offered for marks in barred.values())
    sent_under = [*old, *offered][-REMEMBERED:]
    return msgspec.structs.replace(record, sent_under=sent_under, barred=barred, lacking=lacking)


def bar(record: NetworkRecord, sinks: Iterable[str]) -> NetworkRecord:
    """The record once these sinks have lost what they sent under."""
    return msgspec.structs.replace(record, barred=record.barred | dict.fromkeys(sinks, record.sent_under))


def without(bundle: KeyBundle, marks: Collection[int]) -> KeyBundle:
    """The bundle less the keys to send under that a sink lost."""
    if not marks:
        return bundle
    kept = [each for each in bundle.associations if each.direction is Direction.INBOUND or _mark(each) not in marks]
    return msgspec.structs.replace(bundle, associations=kept)


def _outbound(bundle: KeyBundle) -> list[Association]:
    return [each for each in bundle.associations if each.direction is Direction.OUTBOUND]


def _mark(association: Association) -> int:
    """What an epoch of this node is known by: its SPI, which no other membership shares."""
    return association.spi or association.epoch
