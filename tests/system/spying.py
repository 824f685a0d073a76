"""`keyvigil` with eyes: the same command, in a process that notes each secret it meets and its TLS in the clear.

    python spying.py FOLDER [--kept] [--unwiped] keyvigil-arguments…

Nothing of the product knows of it. FOLDER gets `notes` (JSON lines of a name and hexadecimal) and `wire` (one file for
each connection and direction). With --kept what is to be wiped is never freed, so that its memory tells whether it was;
with --unwiped nothing is wiped.
"""

from __future__ import annotations

import itertools
import json
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

WIPED = ("root", "PIN of the TPM", "authorisation value", "pepper")
"""What the agent says that it overwrites."""
MOST_CAPTURES = 3
MOST_BYTES = 4096
Tell = Callable[[tuple[Any, ...], Any], Mapping[str, bytes]]
"""What a call tells, by its arguments and its result."""


class Spy:
    """Notes what calls tell; every call goes on as it would have."""

    def __init__(self, folder: Path, *, keeps: bool = False) -> None:
        self._keeps, self._kept = keeps, list[Any]()
        self._notes, self._wire = folder / "notes", folder / "wire"
        self._wire.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._numbers = itertools.count()
        self._connections: dict[int, int] = {}

    def note(self, told: Mapping[str, bytes]) -> None:
        lines = [json.dumps({"name": name, "hex": bytes(value).hex()}) for name, value in told.items() if value]
        if self._keeps:
            self._kept += [value for name, value in told.items() if name.strip() in WIPED]
        _append(self._notes, "".join(f"{line}\n" for line in lines).encode())

    def heard(self, connection: object, direction: str, data: bytes) -> None:
        number = self._connections.setdefault(id(connection), next(self._numbers))
        _append(self._wire / f"{os.getpid()}-{number}-{direction}", bytes(data))

    def on(self, owner: Any, name: str, tell: Tell) -> None:
        """Have `owner.name` tell; what it is given is noted before it can be wiped."""
        genuine = getattr(owner, name)

        def told(*arguments: Any, **named: Any) -> Any:
            self.note(tell(arguments, None))
            result = genuine(*arguments, **named)
            self.note(tell(arguments, result))
            return result

        setattr(owner, name, told)


def _append(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(data)


def watch_profile(spy: Spy) -> None:
    """Roots, PINs, authorisation values, peppers, shares, embeddings, templates and what lies beside them."""
    from agent import releasing
    from agent.profile import _key, _open, _vault

    genuine = _key.ProfileKey.make.__func__  # type: ignore[attr-defined]

    def make(kind: Any, enclave: Any, wanted: Any, root: bytes, auth: bytes) -> Any:
        spy.note({"root": root, "authorisation value": auth})
        return genuine(kind, enclave, wanted, root, auth)

    _key.ProfileKey.make = classmethod(make)  # type: ignore[assignment, method-assign]
    spy.on(_key.ProfileKey, "sign", lambda given, _: {"root": given[2], "authorisation value": given[3]})
    spy.on(_key.ProfileKey, "move", lambda given, _: {"root": given[2], "root ": given[3]})
    spy.on(_key, "pin_of", lambda _, pin: {"PIN of the TPM": pin or b""})
    spy.on(_vault, "bind", lambda given, _: _embeddings(given[0]))
    spy.on(_open, "candidates", lambda given, _: _embeddings(given[1]))
    spy.on(_vault, "open_record", _record)
    spy.on(_vault, "past_key", lambda _, key: {"key of the past": key or b""})
    spy.on(releasing, "open_release", lambda _, got: {} if got is None else {"release share": got.present})


def _record(given: tuple[Any, ...], secrets: Any) -> dict[str, bytes]:
    told = {"pepper": given[1], "release share": given[2]}
    if secrets is not None:
        told |= {f"template of the {name}": data for name, data in secrets.templates.items()}
        told |= {f"side of the {name}": data for name, data in secrets.sides.items()}
        told |= {f"helper data of the {name}": one.helper for name, one in secrets.shares.bound.items()}
        told |= {f"wrapped X of the {name}": one.wrapped_x for name, one in secrets.shares.bound.items()}
        told |= {f"wrapped Y of the {name}": one.wrapped_y for name, one in secrets.shares.bound.items()}
    return told


def _embeddings(given: Mapping[str, Any]) -> dict[str, bytes]:
    return {f"embedding of the {name}": np.asarray(values, np.float32).tobytes() for name, values in given.items()}


def watch_captures(spy: Spy) -> None:
    """Samples as they come from the sensors, and their features."""
    from agent import modalities

    genuine = modalities.load_pipelines

    def load(given: Any) -> Any:
        loaded = genuine(given)
        for name, pipeline in loaded.items():
            examine = pipeline.examine

            def examined(captures: Any, purpose: str, name: str = name, examine: Any = examine) -> Any:
                for number, capture in enumerate(captures[:MOST_CAPTURES]):
                    spy.note({f"sample of the {name}, part {number}": raw for raw in _raw(capture)})
                found = examine(captures, purpose)
                if found.features is not None:
                    spy.note({f"features of the {name}": found.features.to_bytes()})
                return found

            object.__setattr__(pipeline, "examine", examined)
        return loaded

    modalities.load_pipelines = load


def _raw(capture: Any) -> list[bytes]:
    """The middle of the largest array of a capture."""
    fields = [getattr(capture, name) for name in getattr(capture, "__dataclass_fields__", {})]
    arrays = [value for value in (*fields, capture) if isinstance(value, np.ndarray)]
    if not arrays:
        return []
    data = max(arrays, key=lambda array: array.nbytes).tobytes()
    middle = max(0, len(data) // 2 - MOST_BYTES // 2)
    return [data[middle : middle + MOST_BYTES]]


def watch_tls(spy: Spy) -> None:
    """What goes into TLS and comes out of it, on sockets and on asyncio's objects."""
    for owner, sending in ((ssl.SSLSocket, "send"), (ssl.SSLObject, "write")):
        genuine = getattr(owner, sending)

        def sent(self: Any, data: Any, *rest: Any, genuine: Any = genuine) -> Any:
            count = genuine(self, data, *rest)
            spy.heard(self, "out", bytes(data)[:count])
            return count

        setattr(owner, sending, sent)
    for owner, receiving in ((ssl.SSLSocket, "recv"), (ssl.SSLObject, "read")):
        genuine = getattr(owner, receiving)

        def received(self: Any, *given: Any, genuine: Any = genuine) -> Any:
            data = genuine(self, *given)
            buffer = given[1] if isinstance(data, int) and len(given) > 1 else None
            spy.heard(self, "in", bytes(buffer[:data]) if buffer is not None else bytes(data))
            return data

        setattr(owner, receiving, received)


def wipe_nothing() -> None:
    """The flaw that a scan of memory must notice."""
    from agent import hardening

    hardening.wipe = lambda _secret: None


def main() -> None:
    flags = [each for each in sys.argv[2:4] if each in {"--kept", "--unwiped"}]
    spy = Spy(Path(sys.argv[1]), keeps="--kept" in flags)
    if "--unwiped" in flags:
        wipe_nothing()
    for watch in (watch_tls, watch_captures, watch_profile):
        watch(spy)
    sys.argv = ["keyvigil", *sys.argv[2 + len(flags) :]]
    from agent.cli import main as keyvigil

    keyvigil()


if __name__ == "__main__":
    main()
