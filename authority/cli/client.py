"""The command line's way to the operator plane."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from authority.cli.output import CommandFailed
from authority.config import load_site

if TYPE_CHECKING:
    import httpx

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT_S = 15.0
LONG_S = 120.0
"""For an order that is about many at once."""
DEFAULT_STATE = "/var/lib/keyvigil-authority"
_URL = re.compile(r"https://[^\s/@?#]+/?")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


@dataclass(frozen=True)
class Target:
    """Which authority to speak to, and with which token; `name` is what its certificate must say, if not the URL's."""

    url: str
    token_file: Path
    ca_file: Path
    name: str | None = None


def state_option(command: F) -> F:
    """Adds `--state`."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="KEYVIGIL_AUTHORITY_STATE",
        default=DEFAULT_STATE,
        show_default=True,
        help="State folder of the authority.",
    )(command)


def target_options(command: F) -> F:
    """Adds what names an authority; from its own state folder unless told otherwise."""
    for option in (
        click.option("--url", envvar="KEYVIGIL_AUTHORITY_URL", help="Operator plane, https://HOST:PORT."),
        click.option("--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File with the token."),
        click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="CA certificate (PEM)."),
    ):
        command = option(command)
    return state_option(command)


def target(state: Path, url: str | None, token_file: Path | None, ca_file: Path | None) -> Target:
    """The authority that the options name."""
    if url and token_file and ca_file:
        return Target(url, token_file, ca_file)
    site = load_site(state)
    listener = site.config.operator_plane
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host)  # noqa: S104
    own = f"https://[{host}]:{listener.port}" if ":" in host else f"https://{host}:{listener.port}"
    name = None if url else site.config.names[0]
    return Target(url or own, token_file or site.operator_token, ca_file or site.ca_certificate, name)


class OperatorClient:
    """Calls the operator plane; refusals become `CommandFailed` with the authority's own words."""

    def __init__(self, where: Target) -> None:
        self._where = where
        if not _URL.fullmatch(where.url):
            raise CommandFailed(f"{where.url!r} is not the address of an authority", "Name --url https://HOST:PORT.")
        token = _read_token(where.token_file)
        try:
            context = ssl.create_default_context(cafile=os.fspath(where.ca_file))
        except OSError as error:
            raise CommandFailed(
                f"cannot use {where.ca_file} as a CA certificate: {error.strerror or error}",
                "Name --state, or --ca-file.",
            ) from None
        import httpx  # not needed to serve, where memory counts

        headers = {"authorization": f"Bearer {token}", "connection": "close"}
        self._failures = httpx.HTTPError, httpx.InvalidURL
        try:
            self._http = httpx.Client(
                base_url=where.url, headers=headers, verify=context, timeout=TIMEOUT_S, trust_env=False
            )
        except httpx.InvalidURL as error:
            raise CommandFailed(f"{where.url!r}: {error}", "Name --url https://HOST:PORT.") from None

    @property
    def ca_file(self) -> Path:
        """The authority's CA certificate (PEM)."""
        return self._where.ca_file

    def get(self, path: str, **query: Any) -> Any:
        """GET a view."""
        return self._call("GET", path, params={key: value for key, value in query.items() if value is not None})

    def get_all(self, path: str, **query: Any) -> list[Any]:
        """GET a list, page by page."""
        found: list[Any] = []
        following: str | None = path
        wanted = {key: value for key, value in query.items() if value is not None}
        while following is not None:
            answer = self._answer("GET", following, params=wanted or None)
            found += answer.json()
            following, wanted = answer.links.get("next", {}).get("url"), {}
        return found

    def post(self, path: str, body: dict[str, Any] | None = None, timeout_s: float = TIMEOUT_S) -> Any:
        """POST an action."""
        return self._call("POST", path, json=body, timeout=timeout_s)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        return self._answer(method, path, **options).json()

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        """An answer that is JSON and no refusal."""
        if self._where.name is not None:
            options["extensions"] = {"sni_hostname": self._where.name}
        try:
            answer = self._http.request(method, path, **options)
            problem = answer.json()
            if answer.is_success:
                return answer
        except self._failures as error:
            raise _unreachable(self._where.url, error) from None
        except ValueError:
            raise CommandFailed(f"{self._where.url} did not answer as an authority", "Check --url.") from None
        raise _refusal(problem, answer.status_code)


def _unreachable(url: str, error: BaseException) -> CommandFailed:
    """Nobody listens, or somebody whose certificate is not the one that it should be."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CommandFailed(
                f"whoever answers at {url} shows a certificate that is not to be trusted: {cause.verify_message}",
                "Name --url with one of the `names` in authority.toml, and the --ca-file of this authority.",
            )
        cause = cause.__cause__ or cause.__context__
    return CommandFailed(
        f"the authority at {url} does not answer: {error}",
        "Start it with `keyvigil-authority serve`, or name another --url.",
    )


def segment(text: str) -> str:
    """`text` as one segment of a path: what a person types never names another resource."""
    if text in {"", ".", ".."}:
        raise CommandFailed(f"{text!r} is not a name", "Name it as the lists do.")
    return quote(text, safe="")


def _read_token(file: Path) -> str:
    """The token, which goes into a header: the file's content is never repeated in an error."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CommandFailed(f"cannot read {file}: {error.strerror}", "Name --state, or --token-file.") from None
    except ValueError:
        token = ""
    if not _TOKEN.fullmatch(token):
        raise CommandFailed(f"{file} holds no operator token", "Name the file that `init` wrote.")
    return token


def _refusal(problem: Any, status: int) -> CommandFailed:
    """The authority's own words, if it said any."""
    said = problem if isinstance(problem, dict) else {}
    words = said.get("detail") or said.get("title") or f"refused with status {status}"
    return CommandFailed(str(words), str(said.get("remedy", "")), status)


def connect(options: dict[str, Any]) -> OperatorClient:
    """The client for a command's options; takes its own options out of the mapping."""
    names = ("state", "url", "token_file", "ca_file")
    return OperatorClient(target(*(options.pop(name) for name in names)))
