"""Keys in one 0600 JSON file that is replaced atomically, and a command that is told so afterwards."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from agent.durable import discard_leftover, read_struct, remove, write_private
from agent.errors import AgentError, ConfigError, SinkFailed
from agent.hooks import run_hook
from agent.sinks._interface import HeldKeys, sink_options
from protocol.codec import encode
from protocol.delivery import KeyBundle

FILE_VERSION = 1


class FileOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`path` of the file (absolute, its folder exists), `hook` run after every change, `clear_on_stop` see `stop`."""

    path: str
    hook: list[str] = []
    hook_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 30.0
    clear_on_stop: bool = True


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of the file: the bundle of every network by its name. Keys are base64 of 32 bytes."""

    version: int
    networks: dict[str, KeyBundle]


class FileSink:
    """The `file` sink."""

    name = "file"

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = sink_options(self.name, options, FileOptions)
        self._path = Path(self._options.path)
        if not self._path.is_absolute() or not self._path.parent.is_dir():
            raise ConfigError(
                f"sinks: the file sink's path {self._path} is not an absolute path in an existing folder",
                remedy="Make the folder first, writable by the agent's user alone.",
            )
        if stat.S_IMODE(self._path.parent.stat().st_mode) & 0o022:
            raise ConfigError(
                f"sinks: other users may put keys of their own into the file sink's folder {self._path.parent}",
                remedy=f"Run `chmod go-w {self._path.parent}`, or name a folder of the agent's own.",
            )

    def install(self, bundle: KeyBundle) -> None:
        """Replace the network's entry and run the hook."""
        self._write(self._networks() | {bundle.network: bundle})
        self._tell("installed", bundle.network)

    def clear(self, network: str) -> None:
        """Remove the network's entry, if there is one, and run the hook."""
        networks = self._networks()
        gone = [network] if networks.pop(network, None) is not None else []
        self._take_away(gone, networks)

    def held(self) -> list[HeldKeys]:
        """What the file says."""
        return [
            HeldKeys(
                name, len(bundle.associations), sorted({a.version for a in bundle.associations}), bundle.expires_at
            )
            for name, bundle in sorted(self._networks().items())
        ]

    def stop(self) -> None:
        """Empty the file, because nothing else ends the keys' lease; off with `clear_on_stop = false`."""
        if self._options.clear_on_stop:
            self._take_away(sorted(self._networks()), {})

    def _networks(self) -> dict[str, KeyBundle]:
        try:
            content = read_struct(self._path, KeyFile)
        except AgentError as error:
            raise SinkFailed(f"file sink: {error}", remedy="Move the file away; the agent writes it anew.") from None
        return {} if content is None else dict(content.networks)

    def _take_away(self, gone: list[str], left: dict[str, KeyBundle]) -> None:
        """Keep the networks of `left` alone, then tell of every one that is gone, whatever the hook says to one."""
        try:
            discard_leftover(self._path)
        except AgentError as error:
            raise SinkFailed(f"file sink: {error}", remedy=error.remedy) from None
        if not gone:
            return
        self._shrink(left)
        failures = []
        for network in gone:
            try:
                self._tell("cleared", network)
            except SinkFailed as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    def _shrink(self, left: dict[str, KeyBundle]) -> None:
        """Keys that must go do so even where the disk has no room for a new file: the whole file goes then."""
        try:
            self._write(left)
        except SinkFailed as failure:
            try:
                remove(self._path)
            except AgentError as error:
                raise SinkFailed(f"file sink: {error}", remedy=error.remedy) from None
            raise SinkFailed(f"{failure}; the keys of every network were removed", remedy=failure.remedy) from None

    def _write(self, networks: dict[str, KeyBundle]) -> None:
        try:
            write_private(self._path, encode(KeyFile(FILE_VERSION, networks)))
        except AgentError as error:
            raise SinkFailed(f"file sink: {error}", remedy=error.remedy) from None

    def _tell(self, event: str, network: str) -> None:
        if not self._options.hook:
            return
        message = encode({"event": event, "network": network, "path": str(self._path)})
        try:
            answer = run_hook(self._options.hook, message, self._options.hook_timeout_s)
        except AgentError as error:
            raise SinkFailed(f"file sink: {error}", remedy=error.remedy) from None
        if answer.status != 0:
            raise SinkFailed(
                f"file sink: the hook {self._options.hook[0]!r} ended with status {answer.status}",
                remedy="See the hook's own messages in the agent's log.",
            )
