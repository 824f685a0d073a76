"""Configuration of the authority: `authority.toml` in its state folder."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec

CONFIG_NAME = "authority.toml"


class ConfigError(Exception):
    """The configuration cannot be used; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "Correct the file; docs/authority.md lists every setting.") -> None:
        super().__init__(message)
        self.remedy = remedy


class Listener(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a plane listens."""

    host: str
    port: int


class Endorsement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files of the roots that EK certificates must chain to; `lab_roots` are good for lab nodes only."""

    roots: list[str] = []
    lab_roots: list[str] = []


class AlertSinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts go as RFC 5424 records: a file, and `unix:PATH`, `udp:HOST:PORT` or `tcp:HOST:PORT`."""

    file: str = "alerts.log"
    syslog: str = ""


class AuthorityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `keyvigil-authority serve` reads. Relative paths are taken from the state folder."""

    names: list[str]
    node_plane: Listener
    operator_plane: Listener
    policy: str = "policy.toml"
    database: str = "authority.db"
    endorsement: Endorsement = Endorsement()
    alerts: AlertSinks = AlertSinks()


@dataclass(frozen=True)
class Site:
    """A state folder together with its configuration."""

    folder: Path
    config: AuthorityConfig

    def path(self, name: str) -> Path:
        """`name` taken from the state folder."""
        return self.folder / name

    @property
    def operator_token(self) -> Path:
        """The first operator's token, written by `init` (0600)."""
        return self.folder / "operator.token"

    @property
    def ca_certificate(self) -> Path:
        """The CA certificate in PEM."""
        return self.folder / "ca" / "ca.pem"


def load_site(folder: Path) -> Site:
    """The site in `folder`; raises `ConfigError` naming the setting that is wrong."""
    file = folder / CONFIG_NAME
    try:
        config = msgspec.convert(tomllib.loads(file.read_text()), AuthorityConfig)
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist", "Run `keyvigil-authority init` first, or name --state.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "Check the path and its permissions.") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from None
    return Site(folder, config)


def render(config: AuthorityConfig) -> str:
    """TOML text of a configuration."""
    lines = [f"names = {_array(config.names)}", f'policy = "{config.policy}"', f'database = "{config.database}"']
    for title, listener in (("node_plane", config.node_plane), ("operator_plane", config.operator_plane)):
        lines += ["", f"[{title}]", f'host = "{listener.host}"', f"port = {listener.port}"]
    lines += ["", "[endorsement]", f"roots = {_array(config.endorsement.roots)}"]
    lines += [f"lab_roots = {_array(config.endorsement.lab_roots)}"]
    lines += ["", "[alerts]", f'file = "{config.alerts.file}"', f'syslog = "{config.alerts.syslog}"']
    return "\n".join(lines) + "\n"


def _array(values: list[str]) -> str:
    return msgspec.json.encode(values).decode()
