"""Tables as CSV (RFC 4180): read with the number of each line, written so that no spreadsheet takes a cell for code."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from authority.cli.output import CommandFailed

LARGEST = 4 * 1024 * 1024
"""Bytes of a file that is read."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def read_sheet(
    file: Path, columns: Sequence[str], optional: Sequence[str] = (), most: int = 1000
) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells of each row of a CSV file, whose first line names the columns.

    Empty lines are passed over. Raises `CommandFailed` naming the lines at fault.
    """
    expected = f"Its first line is `{','.join(columns)}`" + (
        f", and may name {', '.join(optional)}." if optional else "."
    )
    reader = csv.reader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        heading = [cell.strip() for cell in next(reader, [])]
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise CommandFailed(f"{file}, line {reader.line_num}: {error}", "Write it as CSV (RFC 4180).") from None
    known = {*columns, *optional}
    if not {*columns} <= {*heading} <= known or len({*heading}) != len(heading):
        raise CommandFailed(f"{file}: the columns are not as expected", expected)
    if wrong := [str(line) for line, cells in rows if len(cells) != len(heading)]:
        lines = ", ".join(wrong[:10])
        raise CommandFailed(f"{file}: not {len(heading)} cells in line {lines}", expected)
    if not 0 < len(rows) <= most:
        raise CommandFailed(f"{file} has {len(rows)} rows", f"One order takes 1 to {most}; split the file.")
    return [(line, dict(zip(heading, cells, strict=True))) for line, cells in rows]


def sheet(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, without a last line end; what a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().removesuffix("\n")


def moment(timestamp: float | None) -> str:
    """A POSIX time in UTC as ISO 8601 has it, empty for none."""
    return "" if timestamp is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp))


def _cell(value: object) -> str:
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not isinstance(value, int | float) else text


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise CommandFailed(f"{file} is longer than {LARGEST} bytes", "Split the file.")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise CommandFailed(f"cannot read {file}: {error.strerror}", "Name a CSV file.") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{file} is not UTF-8 text", "Save it as CSV in UTF-8.") from None
