"""`keyvigil status`: what this node is, how it stands, and what it holds; nothing secret."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from agent.commands._common import config_option, configured, json_option, print_json
from agent.config import Config
from agent.deliveries import read_delivery_log
from agent.errors import AgentError, ProfileError, StateError
from agent.identity import IdentityStore
from agent.log import printable
from agent.logbook import read_log
from agent.profile import ProfileVault, RecordHeader
from agent.sinks import load_sinks
from agent.standing import StandingBook
from agent.state import StateDirectory


@click.command()
@config_option
@json_option
def status(config_path: Path, as_json: bool) -> int:
    """Show identity, certificate, profiles, standing and keys, as the state directory has them.

    Exit status 1 when the authority's audit log did not continue the checkpoint that is kept here.
    """
    config = configured(config_path)
    facts = gather(config, StateDirectory.open(config.state_dir))
    if as_json:
        print_json(facts)
    else:
        _show(facts)
    return 1 if facts["log"]["trouble"] else 0


def gather(config: Config, state: StateDirectory) -> dict[str, Any]:
    """Everything that `keyvigil status` shows, as plain values; raises `StateError`."""
    return {
        "name": config.node.name,
        "authority": config.node.authority,
        "running": _running(state),
        **_identity(state),
        "profiles": _profiles(state),
        **_log(state),
        "standing": msgspec.to_builtins(StandingBook(state, time.time).read()),
        "networks": _networks(state),
        "sinks": _sinks(config),
    }


def _running(state: StateDirectory) -> bool:
    try:
        with state.daemon_lock():
            return False
    except StateError:
        return True


def _identity(state: StateDirectory) -> dict[str, Any]:
    store = IdentityStore(state)
    if not store.exists():
        return {"joined": False}
    identity = store.load()
    certificate = store.certificate(identity)
    return {
        "joined": True,
        "node_id": identity.node_id,
        "joined_at": identity.joined_at,
        "certificate": {
            "sha256": certificate.thumbprint,
            "not_before": certificate.not_before,
            "not_after": certificate.not_after,
            "age_s": round(time.time() - certificate.not_before),
            "expired": certificate.not_after <= time.time(),
        },
    }


def _log(state: StateDirectory) -> dict[str, Any]:
    known = read_log(state)
    return {"log": {"size": known.size, "held_at": known.held_at, "trouble": known.trouble(time.time())}}


def _profiles(state: StateDirectory) -> list[dict[str, Any]]:
    return [_profile(record_id, found) for record_id, found in ProfileVault(state, lambda _count: b"").listing()]


def _profile(record_id: str, found: RecordHeader | ProfileError) -> dict[str, Any]:
    if isinstance(found, ProfileError):
        return {"record_id": record_id, "error": str(found), "remedy": found.remedy}
    return {
        "admin": found.admin,
        "record_id": record_id,
        "modalities": [model.modality for model in found.modalities],
        "created_at": found.created_at,
    }


def _networks(state: StateDirectory) -> dict[str, Any]:
    log = read_delivery_log(state)
    if log is None:
        return {}
    hidden = {"sha256"}
    return {
        name: {key: value for key, value in msgspec.structs.asdict(record).items() if key not in hidden}
        for name, record in log.networks.items()
    }


def _sinks(config: Config) -> list[dict[str, Any]]:
    found = []
    for sink in load_sinks([(section.kind, section.options) for section in config.sinks]):
        try:
            found.append({"sink": sink.name, "held": [msgspec.to_builtins(held) for held in sink.held()]})
        except AgentError as error:
            found.append({"sink": sink.name, "held": [], "error": str(error)})
    return found


def _show(facts: dict[str, Any]) -> None:
    lines = _lines(facts)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"{printable(name):<{width}}  {printable(value)}")


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("node", f"{facts['name']} ({'running' if facts['running'] else 'not running'})")]
    lines.append(("authority", facts["authority"]))
    if not facts["joined"]:
        return [*lines, ("joined", "no")]
    certificate = facts["certificate"]
    state = "EXPIRED" if certificate["expired"] else "valid"
    lines.append(("node id", facts["node_id"]))
    lines.append(("certificate", f"{state} until {_when(certificate['not_after'])}, {certificate['age_s']} s old"))
    for profile in facts["profiles"]:
        error = f"{profile['error']}. {profile['remedy']}" if "error" in profile else ""
        lines.append(("profile", error or f"{profile['admin']}: {', '.join(profile['modalities'])}"))
    if facts["log"]["trouble"]:
        lines.append(("AUDIT LOG", f"{facts['log']['trouble']}: run `keyvigil log show`, and ask the operator"))
    return lines + _standing(facts["standing"]) + _keys(facts)


def _standing(standing: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if (told := standing["status"]) is not None:
        score = told["score"] / 1000
        text = f"{told['state']}, score {score:.3f}, tier {told['tier']}, access {told['access']}"
        lines.append(("standing", f"{text} ({_when(standing['status_at'])})"))
    if (verdict := standing["verdict"]) is not None:
        text = f"{verdict['outcome']}: {verdict['explanation'] or verdict['reason']}"
        lines.append(("last verdict", f"{text} ({_when(standing['verdict_at'])})"))
    return lines


def _keys(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    for name, record in facts["networks"].items():
        held = "no keys" if record["cleared"] else f"version {record['version']}, epoch {record['epoch']}"
        until = _when(record["expires_at"])
        lines.append(
            (f"network {name}", f"{record['access']}, {held}, {record['associations']} associations, to {until}")
        )
    for sink in facts["sinks"]:
        held = ", ".join(f"{entry['network']} ({entry['associations']})" for entry in sink["held"]) or "nothing"
        lines.append((f"sink {sink['sink']}", sink.get("error", held)))
    return lines


def _when(at: float | None) -> str:
    return "never" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
