"""`keyvigil-authority signals eve`: Suricata's alerts become signals."""

from __future__ import annotations

import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from authority.cli.client import OperatorClient, connect, target_options
from authority.cli.output import CommandFailed, emit, json_option, printable
from authority.eve import LONGEST_LINE, EveRules, EveUnreadable, read_alert
from authority.eve_file import LineFile, Position
from protocol.signals import SignalReport

LOOK_S = 1.0
BACK_OFF_S = 5.0
QUIET_S = 60.0
"""The same node, kind and severity is not sent again sooner than this."""
MOST_REMEMBERED = 10_000
_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass
class Count:
    """What became of the lines."""

    lines: int = 0
    sent: int = 0
    repeated: int = 0
    unknown_node: int = 0
    refused: int = 0
    unreadable: int = 0


@dataclass
class Sender:
    """Sends reports, each node's kind at most once in `QUIET_S`; what is busy is asked again, what is wrong counted."""

    client: OperatorClient
    rules: EveRules
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    count: Count = field(default_factory=Count)
    _told: dict[tuple[str, str, str], float] = field(default_factory=dict)

    def take(self, line: bytes) -> None:
        """Deal with one line."""
        self.count.lines += 1
        try:
            report = read_alert(line, self.rules)
        except EveUnreadable as error:
            self.count.unreadable += 1
            click.echo(f"warning: line {self.count.lines} was passed over: {printable(str(error))[:200]}", err=True)
            return
        if report is not None:
            self._send(report)

    def _send(self, report: SignalReport) -> None:
        key = report.node, report.kind, report.severity.value
        if self.now() - self._told.get(key, -QUIET_S) < QUIET_S:
            self.count.repeated += 1
            return
        while not self._tried(report):
            self.sleep(BACK_OFF_S)
        self._told[key] = self.now()
        if len(self._told) > MOST_REMEMBERED:
            del self._told[next(iter(self._told))]

    def _tried(self, report: SignalReport) -> bool:
        try:
            self.client.post("/v1/signals", msgspec.to_builtins(report))
        except CommandFailed as error:
            match error.status:
                case 404:
                    self.count.unknown_node += 1
                case 409 | 422:
                    self.count.refused += 1
                    click.echo(f"warning: a signal about {printable(report.node)} was refused: {error}", err=True)
                case 429:
                    return False
                case _:
                    raise
            return True
        self.count.sent += 1
        return True


@click.command("eve")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False))
@click.option("--follow", is_flag=True, help="Go on with what is written later, through rotations of the file.")
@click.option("--position", type=_FILE, help="Remember here how far the file was read, and go on from there.")
@click.option("--nodes", type=_FILE, help='TOML file of addresses the authority does not know: "192.0.2.7" = "node-a".')
@click.option("--critical", type=click.IntRange(1), multiple=True, help="Signature id that confirms hostility.")
@click.option("--ttl", type=click.FloatRange(60, 30 * 86400), default=86400.0, show_default=True, help="Seconds.")
@target_options
@json_option
def eve(
    file: Path,
    follow: bool,
    position: Path | None,
    nodes: Path | None,
    critical: tuple[int, ...],
    ttl: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Send the alerts in FILE (Suricata's eve.json; - for standard input) as signals; needs the scope `signal`."""
    rules = EveRules(_nodes(nodes), frozenset(critical), ttl)
    sender = Sender(connect(options), rules)
    with suppress(KeyboardInterrupt):
        for line in _standard_input() if str(file) == "-" else _lines(file, position, follow=follow):
            sender.take(line)
    emit(msgspec.to_builtins(sender.count), as_json, _tell)


def _tell(count: dict[str, int]) -> None:
    click.echo(", ".join(f"{number} {name.replace('_', ' ')}" for name, number in count.items()))


def _standard_input() -> Iterator[bytes]:
    stream = sys.stdin.buffer
    while line := stream.readline(LONGEST_LINE + 1):
        whole = line
        while len(whole) > LONGEST_LINE and not whole.endswith(b"\n") and whole:
            whole = stream.readline(LONGEST_LINE + 1)
        if line.strip():
            yield line.rstrip(b"\r\n") if len(line) <= LONGEST_LINE else line


def _lines(file: Path, kept: Path | None, *, follow: bool) -> Iterator[bytes]:
    source = LineFile(file, LONGEST_LINE, _read_position(kept))
    try:
        if not follow and not file.exists():
            raise CommandFailed(f"{file} does not exist", "Name Suricata's eve.json, or use --follow to wait for it.")
        while True:
            for line in source.lines():
                yield line
                _keep_position(kept, source.position)
            if not follow:
                return
            time.sleep(LOOK_S)
    except OSError as error:
        raise CommandFailed(f"cannot read {file}: {error.strerror}", "Let this user read it.") from None
    finally:
        source.close()


def _read_position(kept: Path | None) -> Position | None:
    if kept is None:
        return None
    try:
        return msgspec.json.decode(kept.read_bytes()[:1024], type=Position)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise CommandFailed(f"{kept} holds no position: {error}", "Remove it to begin with the whole file.") from None


def _keep_position(kept: Path | None, position: Position) -> None:
    """The file is replaced, so that a crash leaves the old position or the new one."""
    if kept is None:
        return
    beside = kept.with_name(f"{kept.name}.new")
    beside.write_bytes(msgspec.json.encode(position))
    beside.replace(kept)


def _nodes(file: Path | None) -> dict[str, str]:
    if file is None:
        return {}
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), dict[str, str])
    except (OSError, ValueError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise CommandFailed(f"{file}: {error}", 'Write lines like "192.0.2.7" = "node-a".') from None
