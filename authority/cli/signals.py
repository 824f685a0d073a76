"""`keyvigil-authority signals …`, `node hostile|absolve`, and `token create|revoke`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from authority.cli.client import connect, segment, target_options
from authority.cli.output import CommandFailed, emit, json_option, table, when
from authority.cli.secret_files import secret_file
from authority.roles import Role, Scope, draw_token, lookup_of
from protocol.signals import LONGEST_TTL_S, SHORTEST_TTL_S, Severity

_SCOPES = [each.value for each in Scope]
_WHOSE = "Whose it is: oidc:PROVIDER/SUBJECT, as `token persons` has them, or person:NAME."
_SEVERITIES = [each.value for each in Severity]


@click.group()
def signals() -> None:
    """What taps, nodes and operators noticed of nodes on the network."""


@signals.command("list")
@click.option("--node", help="Only signals about this node.")
@target_options
@json_option
def list_signals(node: str | None, as_json: bool, **options: Any) -> None:
    """Signals that count now, newest first."""
    emit(connect(options).get_all("/v1/signals", node=node), as_json, _print)


def _print(found: list[dict[str, Any]]) -> None:
    headings = ("node", "kind", "severity", "confidence", "from", "observed", "until")
    rows = [
        [
            each["node"],
            each["kind"],
            each["severity"],
            f"{each['confidence'] / 1000:.2f}",
            f"{each['origin']} {each['reporter'][:16]}/{each['source']}",
            when(each["observed_at"]),
            "absolved" if each["expires_at"] is None else when(each["expires_at"]),
        ]
        for each in found
    ]
    table("Signals", headings, rows)


@signals.command("send")
@click.option("--source", default="operator-tool", show_default=True, help="The program that noticed it.")
@click.option("--node", required=True, help="Name, id, or address in a network.")
@click.option("--kind", required=True, help="What was noticed: a-z 0-9 . _ : -")
@click.option("--severity", type=click.Choice(_SEVERITIES), required=True)
@click.option("--confidence", type=click.FloatRange(0, 1), default=1.0, show_default=True)
@click.option("--ttl", type=click.FloatRange(SHORTEST_TTL_S, LONGEST_TTL_S), default=86400.0, show_default=True)
@click.option("--ref", help="The signal's number at its source; the same again changes nothing.")
@target_options
@json_option
def send(as_json: bool, confidence: float, severity: str, ref: str | None, **options: Any) -> None:
    """Send one signal, as a tap would; needs a token with the scope `signal`."""
    names = ("source", "node", "kind", "ttl")
    body = {name: options.pop(name) for name in names} | {"severity": str(severity), "observed_at": time.time()}
    body |= {"confidence": round(confidence * 1000), "ref": ref or os.urandom(12).hex()}
    emit(
        connect(options).post("/v1/signals", body),
        as_json,
        lambda done: click.echo(f"{body['node']}: {done['outcome']}"),
    )


def finding(verb: str, help_text: str) -> click.Command:
    """A command of `node` by which an operator judges a node's behaviour."""

    @click.command(verb, help=help_text)
    @click.argument("name")
    @click.option("--reason", required=True, help="Why; it goes into the audit log.")
    @target_options
    @json_option
    def act(name: str, reason: str, as_json: bool, **options: Any) -> None:
        done = connect(options).post(f"/v1/nodes/{segment(name)}/{verb}", {"reason": reason})
        emit(done, as_json, lambda _: click.echo(f"{name}: {verb} done"))

    return act


hostile = finding("hostile", "Confirm that a node is hostile: its score is capped until it is absolved.")
absolve = finding("absolve", "End every signal that speaks against a node.")


@click.group()
def token() -> None:
    """Tokens of the operator plane."""


@token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice([each.value for each in Role]), help="A set of scopes with a name.")
@click.option("--scope", "scopes", type=click.Choice(_SCOPES), multiple=True, help="Repeat for more.")
@click.option(
    "--lifetime", type=click.IntRange(60, 366 * 86400), default=90 * 86400, show_default=True, help="Seconds."
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File for the token (0600)."
)
@click.option("--identity", help=_WHOSE)
@target_options
@json_option
def create(
    name: str,
    role: str | None,
    scopes: tuple[str, ...],
    lifetime: int,
    out: Path,
    identity: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a token, of a tap say (`--role tap`); it is drawn here, written to a file, and only its hash is sent."""
    text = draw_token(os.urandom)
    with secret_file(out) as keep:
        body = _wanted(name, role, scopes, lifetime, identity)
        made = connect(options).post("/v1/tokens", body | {"sha256": lookup_of(text)})
        keep(text)
    emit(made | {"file": os.fspath(out)}, as_json, lambda value: click.echo(f"token written to {value['file']}"))


@token.command("certificate")
@click.argument("name")
@click.argument("certificate", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--role", type=click.Choice([each.value for each in Role]), help="A set of scopes with a name.")
@click.option("--scope", "scopes", type=click.Choice(_SCOPES), multiple=True, help="Repeat for more.")
@click.option(
    "--lifetime", type=click.IntRange(60, 366 * 86400), default=90 * 86400, show_default=True, help="Seconds."
)
@click.option("--identity", help=_WHOSE)
@target_options
@json_option
def register_certificate(
    name: str,
    certificate: Path,
    role: str | None,
    scopes: tuple[str, ...],
    lifetime: int,
    identity: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Let the client certificate in the file CERTIFICATE (PEM) be the operator NAME; its CA is `operator_ca`."""
    body = _wanted(name, role, scopes, lifetime, identity)
    made = connect(options).post("/v1/tokens", body | {"certificate_sha256": _thumbprint(certificate)})
    emit(made, as_json, lambda value: click.echo(f"{value['name']}: certificate registered"))


def _wanted(
    name: str, role: str | None, scopes: tuple[str, ...], lifetime: int, identity: str | None
) -> dict[str, Any]:
    body = {"name": name, "role": role, "scopes": [str(scope) for scope in scopes], "lifetime_s": lifetime}
    return body if identity is None else body | {"identity": identity}


def _thumbprint(file: Path) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).fingerprint(SHA256()).hex()
    except (OSError, ValueError):
        raise CommandFailed(f"{file} holds no certificate", "Name a PEM file.") from None


@token.command("whose")
@click.argument("name")
@click.option("--identity", required=True, help=_WHOSE)
@target_options
@json_option
def whose(name: str, identity: str, as_json: bool, **options: Any) -> None:
    """Say, once, whose a credential is that names nobody: nobody approves their own order by a second one."""
    done = connect(options).post(f"/v1/tokens/{segment(name)}/identity", {"identity": identity})
    emit(done, as_json, lambda _: click.echo(f"{name}: is of {identity}"))


@token.command("list")
@target_options
@json_option
def list_tokens(as_json: bool, **options: Any) -> None:
    """Tokens in force: whose, for what, until when."""
    emit(connect(options).get_all("/v1/tokens"), as_json, _print_tokens)


def _print_tokens(found: list[dict[str, Any]]) -> None:
    rows = [
        [each["name"], each["kind"], " ".join(each["scopes"]), when(each["expires_at"]), each["identity"]]
        for each in found
    ]
    table("Tokens", ("name", "kind", "scopes", "until", "identity"), rows)


@token.command("revoke")
@click.argument("name")
@target_options
@json_option
def revoke(name: str, as_json: bool, **options: Any) -> None:
    """End a token at once; its operator's votes on the brake count no longer."""
    done = connect(options).post(f"/v1/tokens/{segment(name)}/revoke")
    emit(done, as_json, lambda value: click.echo(f"{value['name']}: token revoked"))
