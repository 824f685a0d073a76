"""Configuration of the authority: `authority.toml` in its state folder."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

CONFIG_NAME = "authority.toml"

Text = Annotated[str, msgspec.Meta(min_length=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class ConfigError(Exception):
    """The configuration cannot be used; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str = "Correct the file; docs/authority.md lists every setting.") -> None:
        super().__init__(message)
        self.remedy = remedy


class Listener(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a plane listens."""

    host: Text
    port: Port


class Endorsement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files of the roots that EK certificates must chain to; `lab_roots` are good for lab nodes only."""

    roots: list[Text] = []
    lab_roots: list[Text] = []


class AlertDestination(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A receiver of alerts: a table `[[alerts.destinations]]`.

    `address` is `unix:PATH`, `udp:HOST:PORT`, `tcp:HOST:PORT`, `tls:HOST:PORT`, `file:PATH`, `journald`, or an `https:`
    URL; what does not fit it is refused. Alerts below `severity` are not sent there. Of a `durable` destination none is
    ever given up; of another the oldest are, when more than `backlog` wait.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")]
    address: Text
    format: Literal["rfc5424", "cef", "ecs", "ocsf"] = "rfc5424"
    severity: Literal["critical", "error", "warning", "notice", "info"] = "info"
    durable: bool = True
    backlog: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 10_000
    timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0
    ca: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    secret_file: str = ""


class AlertSinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where alerts go: a file and a plain syslog receiver as RFC 5424 records, and any number of destinations."""

    file: str = "alerts.log"
    syslog: str = ""
    destinations: list[AlertDestination] = []


class ConsoleClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The console as a client of an identity provider: a table `[oidc.console]` below its `[[oidc]]`.

    `redirect_uri` is the console's address as browsers know it, with `/console/sign-in/NAME/back` behind it, where NAME
    is the provider's; it is registered there to the letter. Without a `client_secret_file` (0600) the client is public.
    """

    client_id: Text
    redirect_uri: Text
    client_secret_file: str = ""
    scopes: Annotated[tuple[Text, ...], msgspec.Meta(max_length=16)] = ("openid",)


class OidcProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An identity provider whose access tokens operators may bear: a table `[[oidc]]`.

    `issuer` is written as the provider's metadata has it, `audience` is what it calls this authority. `claim` is the
    path to the claim whose values `roles` translates. Tokens good for longer than `longest_s` are refused. Keys are
    fetched anew after `keys_s` and used for up to `kept_s` while the provider is silent. What a person ordered and
    voted for stands for `stands_s` after their last token was seen.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9](?:[a-z0-9-]{0,14}[a-z0-9])?\Z")]
    issuer: Text
    audience: Text
    roles: dict[Text, Literal["viewer", "auditor", "operator", "admin", "tap"]]
    claim: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=8)] = ("roles",)
    ca: str = ""
    typ: Literal["at+jwt", "jwt"] = "at+jwt"
    algorithms: tuple[Text, ...] = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    leeway_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 30.0
    longest_s: Annotated[float, msgspec.Meta(ge=60, le=604_800)] = 86400.0
    keys_s: Annotated[float, msgspec.Meta(ge=60, le=86400)] = 600.0
    kept_s: Annotated[float, msgspec.Meta(ge=60, le=604_800)] = 86400.0
    stands_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 28800.0
    console: ConsoleClient | None = None


class ResultSubscriber(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is sent every attestation result by signed HTTP: a table `[[results.subscribers]]`.

    With more than `backlog` waiting, the oldest are given up: they expire anyway.
    """

    name: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")]
    address: Text
    secret_file: Text
    ca: str = ""
    backlog: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 100_000
    timeout_s: Annotated[float, msgspec.Meta(ge=0.1, le=60)] = 5.0


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long issued attestation results are kept, 0 for not at all, and who is sent them."""

    kept_s: Annotated[float, msgspec.Meta(ge=0, le=2_678_400)] = 86400.0
    subscribers: list[ResultSubscriber] = []


class AuthorityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that `keyvigil-authority serve` reads. Relative paths are taken from the state folder.

    `database` is a file, or `postgresql://…`, whose password `database_password_file` holds (`credential:NAME` for one
    that systemd hands over). `shreds` is the folder of shred keys, which all replicas share. `operator_ca`: PEM file of
    the CA whose client certificates operators may show; which of them are operators' is registered one by one.
    """

    names: Annotated[list[Text], msgspec.Meta(min_length=1)]
    node_plane: Listener
    operator_plane: Listener
    policy: Text = "policy.toml"
    database: Text = "authority.db"
    operator_ca: str = ""
    endorsement: Endorsement = Endorsement()
    alerts: AlertSinks = AlertSinks()
    oidc: list[OidcProvider] = []
    results: Results = Results()
    database_password_file: str = ""
    shreds: Text = "shreds"


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
    """TOML text of a configuration; `load_site` reads the same one back."""
    settings: dict[str, str | Sequence[str]] = {
        "names": config.names,
        "policy": config.policy,
        "database": config.database,
    }
    settings |= {} if config.shreds == "shreds" else {"shreds": config.shreds}
    for name in ("operator_ca", "database_password_file"):
        if value := getattr(config, name):
            settings[name] = value
    parts = [_lines(settings)]
    for title in ("node_plane", "operator_plane", "endorsement", "alerts"):
        parts.append([f"[{title}]", *_lines(_plain(getattr(config, title)))])
    parts += [["[[alerts.destinations]]", *_lines(_plain(each))] for each in config.alerts.destinations]
    parts += [] if config.results == Results() else [["[results]", *_lines(_plain(config.results))]]
    parts += [["[[results.subscribers]]", *_lines(_plain(each))] for each in config.results.subscribers]
    parts += [[*_oidc(each)] for each in config.oidc]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


_APART = {"destinations", "roles", "subscribers", "console"}
"""Tables of their own."""


def _oidc(provider: OidcProvider) -> Iterator[str]:
    yield from ("[[oidc]]", *_lines(_plain(provider)), *_table("oidc.roles", provider.roles))
    if provider.console is not None:
        yield from ("[oidc.console]", *_lines(_plain(provider.console)))


def _plain(section: Any) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(section).items() if key not in _APART}


def _lines(settings: Mapping[str, str | int | Sequence[str]]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in settings.items()]


def _table(title: str, entries: Mapping[str, str]) -> list[str]:
    return [f"[{title}]", *(f"{_toml(key)} = {_toml(value)}" for key, value in entries.items())]


def _toml(value: str | int | Sequence[str]) -> str:
    """Strings, numbers and lists of strings are written alike in JSON and TOML, but for one control character."""
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
