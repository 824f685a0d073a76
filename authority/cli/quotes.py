"""`keyvigil-authority quote verify`: a quote from files, checked without an authority."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from authority.cli.output import CommandFailed, emit, json_option, pairs, table
from authority.tpm import PcrSelection, QuoteFiles, examine, parse_selection, selection_text
from authority.tpm.examination import Check, Examination, Result

LARGEST_FILE = 1024 * 1024
NOT_VERIFIED = 1

_FILE = click.Path(path_type=Path)


def _nonce(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    """An even number of hexadecimal digits, one byte or more."""
    try:
        nonce = bytes.fromhex(value)
    except ValueError:
        raise click.BadParameter("hexadecimal digits are needed, two for every byte", ctx, param) from None
    if not nonce:
        raise click.BadParameter(
            "an empty nonce proves no freshness; give what the quote was asked for with", ctx, param
        )
    return nonce


def _selection(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[PcrSelection, ...] | None:
    """Banks and registers in tpm2-tools' form."""
    try:
        return parse_selection(value) if value is not None else None
    except ValueError as error:
        raise click.BadParameter(f"{error}; the form is sha256:0,1,2+sha384:7", ctx, param) from None


@click.group()
def quote() -> None:
    """Quotes of TPMs, from files."""


@quote.command("verify")
@click.option("--ak", type=_FILE, required=True, help="Attestation key: TPM2B_PUBLIC (tss), PEM or DER.")
@click.option("--message", type=_FILE, required=True, help="What tpm2_quote -m wrote.")
@click.option("--signature", type=_FILE, required=True, help="What tpm2_quote -s wrote.")
@click.option("--pcrs", type=_FILE, required=True, help="What tpm2_quote -o wrote, serialized or values.")
@click.option("--nonce", callback=_nonce, required=True, help="Qualifying data that was asked for.")
@click.option("--selection", callback=_selection, help="Registers that must be covered, no more and no fewer.")
@click.option("--event-log", type=_FILE, help="Measured-boot log that must lead to the quoted values.")
@json_option
def verify(  # noqa: PLR0913, PLR0917 - one parameter for each file of a quote
    ak: Path,
    message: Path,
    signature: Path,
    pcrs: Path,
    nonce: bytes,
    selection: tuple[PcrSelection, ...] | None,
    event_log: Path | None,
    as_json: bool,
) -> None:
    """Check a quote in tpm2-tools' files; exit status 0 only if all holds, 1 otherwise.

    Without --selection the quote's own is reported, and must name at least one register, none of the SHA-1 bank.
    """
    try:
        log = _read(event_log) if event_log is not None else None
        files = QuoteFiles(_read(ak), _read(message), _read(signature), _read(pcrs), log)
    except CommandFailed as error:
        unread = Examination([Check("files", Result.FAILED, "unreadable", f"{error}. {error.remedy}")])
        emit(_report(unread), as_json, _print)
        sys.exit(NOT_VERIFIED)
    found = examine(files, nonce, selection)
    emit(_report(found), as_json, _print)
    if not found.verified:
        sys.exit(NOT_VERIFIED)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or str(error)
        raise CommandFailed(f"{path} cannot be read: {text}", "Name a file that this user may read.") from None
    if len(data) > LARGEST_FILE:
        raise CommandFailed(f"{path} is larger than {LARGEST_FILE} bytes", "No file of a quote is that large.")
    return data


def _report(found: Examination) -> dict[str, Any]:
    flaw = found.first_flaw
    attest = found.attest
    clock = attest.clock_info if attest else None
    return {
        "verified": found.verified,
        "reason": f"{flaw.name}: {flaw.reason}: {flaw.detail}" if flaw else "",
        "checks": [
            {"name": one.name, "result": one.result.value, "reason": str(one.reason), "detail": one.detail}
            for one in found.checks
        ],
        "selection": selection_text(found.selection) if attest else "",
        "weak_banks": sorted({one.bank.name.lower() for one in found.selection if one.weak}),
        "pcrs": _registers(found),
        "unlogged_pcrs": found.unlogged,
        "signer_name": found.signer_name.hex(),
        "nonce": attest.extra_data.hex() if attest else "",
        "clock": clock
        and {
            "clock_ms": clock.clock,
            "reset_count": clock.reset_count,
            "restart_count": clock.restart_count,
            "safe": clock.safe,
        },
        "firmware_version": f"{attest.firmware_version:016x}" if attest else "",
    }


def _registers(found: Examination) -> dict[str, dict[str, str]]:
    banks: dict[str, dict[str, str]] = {}
    for (bank, pcr), value in (found.registers or {}).items():
        banks.setdefault(bank.name.lower(), {})[str(pcr)] = value.hex()
    return banks


def _print(report: dict[str, Any]) -> None:
    rows = [[one["name"], one["result"], f"{one['reason']} {one['detail']}".strip()] for one in report["checks"]]
    table("Checks", ("check", "result", "why"), rows)
    shown = {name: report[name] for name in ("selection", "nonce", "signer_name", "firmware_version")}
    pairs("Quote", {**shown, "weak banks": ", ".join(report["weak_banks"]) or "none"})
    click.echo("verified" if report["verified"] else f"NOT verified: {report['reason']}")
