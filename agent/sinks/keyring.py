"""Keys as `user` keys in a Linux kernel keyring; the kernel itself ends them when the lease does."""

from __future__ import annotations

import contextlib
import errno
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from agent.sinks._interface import HeldKeys, sink_options
from agent.sinks._keyctl import KEYRINGS, POSSESSOR_ALL, USER_VIEW_READ_SEARCH, Keyctl, KeyErrno, refusal
from protocol.delivery import Association, KeyBundle

LONGEST_TIMEOUT_S = 2**31 - 1
"""The kernel takes 32 bits of seconds, and a timeout of 0 for none at all."""
_GONE = {errno.ENOKEY, errno.EKEYEXPIRED, errno.EKEYREVOKED}


class KeyringOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which keyring, and what every description begins with."""

    keyring: Literal["session", "user", "user-session", "process"] = "user"
    prefix: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._-]{1,32}$")] = "keyvigil"


class _Held(NamedTuple):
    serial: int
    network: str
    version: int


class KeyringSink:
    """The `keyring` sink.

    One key per association, described as
    ``<prefix>:<network>:<in|out>:<peer node id>:v<version>:e<epoch>:<resource class>``; the payload is the key itself.
    """

    name = "keyring"

    def __init__(self, options: Mapping[str, Any], now: Callable[[], float] = time.time) -> None:
        self._options = sink_options(self.name, options, KeyringOptions)
        self._keyring = KEYRINGS[self._options.keyring]
        self._now = now
        self._kernel = Keyctl()
        self._possess()

    def install(self, bundle: KeyBundle) -> None:
        """Add the bundle's keys with the lease as their timeout, then end the network's others."""
        with _explained("installing keys"):
            seconds = min(LONGEST_TIMEOUT_S, math.floor(bundle.expires_at - self._now()))
            fresh = set()
            if seconds > 0:
                fresh = {self._add(bundle, association, seconds) for association in bundle.associations}
            self._end(bundle.network, keep=fresh)

    def clear(self, network: str) -> None:
        """End every key of the network."""
        with _explained("removing keys"):
            self._end(network, keep=set())

    def held(self) -> list[HeldKeys]:
        """What the keyring holds under the prefix."""
        with _explained("listing keys"):
            found: dict[str, list[_Held]] = {}
            for key in self._list():
                found.setdefault(key.network, []).append(key)
        return [
            HeldKeys(network, len(keys), sorted({key.version for key in keys}))
            for network, keys in sorted(found.items())
        ]

    def stop(self) -> None:
        """Nothing: the kernel ends the keys when their lease does."""

    def _possess(self) -> None:
        """Link the user keyring into the session, without which its keys can be added but not managed."""
        if self._options.keyring == "user":
            with contextlib.suppress(KeyErrno):
                self._kernel.link(KEYRINGS["user"], KEYRINGS["session"])

    def _add(self, bundle: KeyBundle, association: Association, seconds: int) -> int:
        serial = self._kernel.add(self._describe(bundle, association), association.key, self._keyring)
        self._kernel.set_timeout(serial, seconds)
        self._kernel.set_permissions(serial, POSSESSOR_ALL | USER_VIEW_READ_SEARCH)
        return serial

    def _describe(self, bundle: KeyBundle, association: Association) -> str:
        direction = "in" if association.direction.value == "inbound" else "out"
        return (
            f"{self._options.prefix}:{bundle.network}:{direction}:{association.peer}:v{association.version}"
            f":e{association.epoch}:{association.resource_class.value}"
        )

    def _end(self, network: str, keep: set[int]) -> None:
        for key in self._list():
            if key.network == network and key.serial not in keep:
                with contextlib.suppress(KeyErrno):
                    self._kernel.revoke(key.serial)
                self._unlink(key.serial)

    def _unlink(self, serial: int) -> None:
        try:
            self._kernel.unlink(serial, self._keyring)
        except KeyErrno as error:
            if error.errno not in {*_GONE, errno.ENOENT}:
                raise

    def _list(self) -> Iterator[_Held]:
        for serial in self._kernel.members(self._keyring):
            try:
                description = self._kernel.describe(serial)
            except KeyErrno:
                continue
            key = self._parse(serial, description)
            if key is not None:
                yield key

    def _parse(self, serial: int, description: str) -> _Held | None:
        parts = description.split(":")
        if len(parts) != 7 or parts[0] != self._options.prefix:
            return None
        try:
            return _Held(serial, parts[1], int(parts[4][1:]))
        except ValueError:
            return None


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except KeyErrno as error:
        raise refusal(what, error) from None
