"""Which keys a sink is given: those whose time has come, and none that it lost, for nonces would repeat."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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


def follow(record: NetworkRecord, before: NetworkRecord | None) -> NetworkRecord:
    """The record of a new bundle, with what the one before knew of keys that were sent under or lost."""
    if before is None:
        return record
    return msgspec.structs.replace(record, sent_under=before.sent_under, barred=before.barred)


def bar(record: NetworkRecord, sinks: Iterable[str]) -> NetworkRecord:
    """The record once these sinks have lost what they sent under."""
    return msgspec.structs.replace(record, barred=record.barred | dict.fromkeys(sinks, record.sent_under))


def select(bundle: KeyBundle, record: NetworkRecord, sink: str, now: float) -> KeyBundle:
    """What a sink is to hold now: of each peer all keys to receive under, and one to send under.

    That is the one whose time came last, even if the clock was set back since. Where a sink lost it, the next that it
    never sent under takes its place, before its time: the peers hold it already.
    """
    chosen = {id(each) for each in _chosen(bundle, record, record.barred.get(sink, []), now)}
    kept = [each for each in bundle.associations if each.direction is Direction.INBOUND or id(each) in chosen]
    return msgspec.structs.replace(bundle, associations=kept)


def handed(record: NetworkRecord, selected: Mapping[str, KeyBundle], bundle: KeyBundle) -> NetworkRecord:
    """The record once the sinks, by name, are given these selections of a bundle."""
    marks = sorted({_mark(each) for one in selected.values() for each in _outbound(one)})
    old = [each for each in record.sent_under if each not in marks]
    offered = {_mark(each) for each in _outbound(bundle)}
    lacking = any(offered & {*record.barred.get(sink, [])} for sink in selected)
    return msgspec.structs.replace(record, sent_under=[*old, *marks][-REMEMBERED:], lacking=lacking)


def next_change(bundle: KeyBundle, now: float) -> float | None:
    """When another key comes into force, to send under or of a peer, in POSIX seconds."""
    return min((each.not_before for each in bundle.associations if each.not_before > now), default=None)


def _chosen(bundle: KeyBundle, record: NetworkRecord, barred: Collection[int], now: float) -> list[Association]:
    by_peer: dict[str, list[Association]] = {}
    for each in sorted(_outbound(bundle), key=lambda each: (each.not_before, each.epoch)):
        by_peer.setdefault(each.peer, []).append(each)
    found = []
    for offered in by_peer.values():
        usable = [each for each in offered if _mark(each) not in barred]
        due = [each for each in usable if each.not_before <= now or _mark(each) in record.sent_under]
        lost = any(each.not_before <= now for each in offered if _mark(each) in barred)
        found += due[-1:] or (usable[:1] if lost else [])
    return found


def _outbound(bundle: KeyBundle) -> list[Association]:
    return [each for each in bundle.associations if each.direction is Direction.OUTBOUND]


def _mark(association: Association) -> int:
    """What an epoch of this node is known by: its SPI, which no other membership shares."""
    return association.spi or association.epoch
