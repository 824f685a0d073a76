"""What a key sink is, and how one is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec

from agent.errors import ConfigError
from protocol.delivery import KeyBundle

SINK_GROUP = "keyvigil.key_sinks"
"""The entry-point group in which a package offers key sinks; an entry point names a class taking `options`."""

T = TypeVar("T")


class HeldKeys(msgspec.Struct, frozen=True):
    """What a sink holds for one network, without a secret; `expires_at` in POSIX seconds where the sink knows it.

    `in_force` are the versions that traffic runs under, where that is not all that is installed.
    """

    network: str
    associations: int
    versions: list[int]
    expires_at: float | None = None
    in_force: list[int] | None = None


class DataPlaneFacts(msgspec.Struct, frozen=True):
    """What a sink offers to the data plane of this node's peers; the defaults offer nothing.

    `wireguard_public` is a Curve25519 public key of 32 bytes, `endpoint` the physical IP address that packets come to.
    A sink that has such facts offers them by a method `facts() -> DataPlaneFacts`, which no other sink needs.
    """

    wireguard_public: bytes = b""
    wireguard_port: int = 0
    endpoint: str = ""


@runtime_checkable
class OffersFacts(Protocol):
    """A sink that has facts for the peers' data planes."""

    def facts(self) -> DataPlaneFacts:
        """What it offers now; raises `SinkFailed`."""
        ...


class KeySink(Protocol):
    """A place where the keys of a network take effect. Methods are called from one thread at a time."""

    @property
    def name(self) -> str:
        """Short name for acknowledgements and logs."""
        ...

    def install(self, bundle: KeyBundle) -> None:
        """Make the network's keys exactly those of `bundle`; new ones before old ones go. Raises `SinkFailed`."""
        ...

    def clear(self, network: str) -> None:
        """Remove every key of the network; raises `SinkFailed`."""
        ...

    def held(self) -> list[HeldKeys]:
        """What is installed now; raises `SinkFailed`."""
        ...

    def stop(self) -> None:
        """The agent ends: remove what would outlive its lease without it. Raises `SinkFailed`."""
        ...


def offered(sinks: Sequence[KeySink]) -> DataPlaneFacts | None:
    """What the sinks offer together, of each fact the first that is given; none where no sink has `facts`.

    Raises `SinkFailed`.
    """
    given = [sink.facts() for sink in sinks if isinstance(sink, OffersFacts)]
    if not given:
        return None
    keyed = next((facts for facts in given if facts.wireguard_public), DataPlaneFacts())
    endpoint = next((facts.endpoint for facts in given if facts.endpoint), "")
    return msgspec.structs.replace(keyed, endpoint=endpoint)


def serves(sink: KeySink, network: str) -> bool:
    """Whether the keys of this network are for the sink; a sink that has no `serves` of its own takes them all."""
    asked = getattr(sink, "serves", None)
    return asked is None or bool(asked(network))


def withdraw(sink: KeySink, network: str, *, isolated: bool) -> None:
    """End the network's keys; a sink that has an `isolate` of its own learns that the node itself is cut off."""
    isolate = getattr(sink, "isolate", None)
    if isolated and isolate is not None:
        isolate(network)
    else:
        sink.clear(network)


def load_sink(kind: str, options: Mapping[str, Any]) -> KeySink:
    """The sink `kind` with its options; raises `ConfigError` for an unknown kind, two of a kind, or bad options."""
    points = list(entry_points(group=SINK_GROUP, name=kind))
    if len(points) != 1:
        known = ", ".join(sorted({point.name for point in entry_points(group=SINK_GROUP)}))
        raise ConfigError(f"sinks: {len(points)} installed sinks are named {kind!r}", remedy=f"Use one of: {known}.")
    sink: KeySink = points[0].load()(options)
    return sink


def load_sinks(sections: Sequence[tuple[str, Mapping[str, Any]]]) -> list[KeySink]:
    """Every configured sink in order."""
    return [load_sink(kind, options) for kind, options in sections]


def sink_options(kind: str, options: Mapping[str, Any], form: type[T]) -> T:
    """`options` as the struct `form`; raises `ConfigError` naming the option at fault."""
    try:
        return msgspec.convert(dict(options), form)
    except msgspec.ValidationError as error:
        raise ConfigError(f"sinks: options of the {kind} sink: {error}") from None
