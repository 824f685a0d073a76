"""Files for secrets that the authority hands out once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from authority.cli.output import CommandFailed


@contextmanager
def secret_file(file: Path | None) -> Iterator[Callable[[str], None]]:
    """A new 0600 file, made before the secret that goes into it: one that finds no place would be lost.

    Gives what writes the secret; the file is removed again when the body fails. Raises `CommandFailed`; an existing
    file is not written over. Without a `file` nothing is done.
    """
    if file is None:
        yield lambda _: None
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandFailed(f"{file} exists", "Name a new file: a secret is never written over another.") from None
    except OSError as error:
        raise CommandFailed(f"cannot make {file}: {error.strerror}", "Name a file in a folder that exists.") from None
    with os.fdopen(descriptor, "w") as stream:

        def keep(text: str) -> None:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())

        try:
            yield keep
        except BaseException:
            file.unlink(missing_ok=True)
            raise
