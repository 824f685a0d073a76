"""A modality at arm's length: whatever its code raises becomes an error that the agent expects, in one place.

The text of an exception that nobody foresaw could hold anything, also biometric values, and stays out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from agent.errors import AgentError, BiometricError, ConfigError
from agent.extension import Effort, KeptAtDevice, Modality, PersonAbsent, Sensor
from agent.pipelines import DIGEST_BYTES, Bindable, Examined, KeepsBeside, Match, Pipeline, Purpose, RefusesReplays
from hal import DeviceError
from protocol.messages import ModalityModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
_MOST = 50
"""Samples, and tries, that a modality may ask of a person."""


class ContainedModality:
    """A modality whose errors are those of the agent and of `hal`."""

    def __init__(self, inner: Modality, name: str, code: str = "") -> None:
        """`name` is that of the entry point, `code` the SHA-256 of a third party's package.

        Raises `ConfigError` for an object that is no modality of this name.
        """
        self._inner = inner
        self._code = code
        self.name, self.kind, self.alone, self.effort = name, inner.kind, bool(inner.alone), inner.effort
        effort = self.effort
        fits = isinstance(effort, Effort) and 1 <= effort.samples <= _MOST and 1 <= effort.tries <= _MOST
        if inner.name != name or not isinstance(self.kind, str) or not fits or not effort.pause_s >= 0:
            raise ConfigError(
                f"what is installed as the modality {name!r} does not describe itself as one",
                remedy="Install a version of its package that fits this version of Keyvigil.",
            )

    def captures(self, sensor: Sensor) -> Generator[Sequence[Any], None, None]:
        """The modality's samples."""
        try:
            yield from self._inner.captures(sensor)
        except (AgentError, DeviceError, PersonAbsent):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            _failed(self.name, error)

    def pipeline(self) -> Pipeline:
        """The modality's pipeline, contained as well."""
        inner = _tried(self.name, self._inner.pipeline)
        kind = _KINDS[isinstance(inner, RefusesReplays), isinstance(inner, Bindable)]
        return kind(self.name, inner, self._code)


class ContainedKeeper(ContainedModality):
    """One whose device keeps the template."""

    def __init__(self, inner: Modality, name: str, code: str = "") -> None:
        super().__init__(inner, name, code)
        if not isinstance(inner, KeptAtDevice):
            raise TypeError(f"{name} keeps nothing at its device")
        self._keeper = inner

    def withdraw(self, sensor: Sensor) -> None:
        """Have the device forget what it enrolled."""
        try:
            self._keeper.withdraw(sensor)
        except (AgentError, DeviceError, PersonAbsent):
            raise
        except Exception as error:  # noqa: BLE001 - see above
            _failed(self.name, error)


def contained(inner: Modality, name: str, code: str = "") -> ContainedModality:
    """`inner` at arm's length, as `ContainedModality` takes it."""
    kind = ContainedKeeper if isinstance(inner, KeptAtDevice) else ContainedModality
    return kind(inner, name, code)


class ContainedPipeline:
    """A pipeline whose errors are `BiometricError`, and whose model is of the modality that it stands for."""

    def __init__(self, name: str, inner: Pipeline, code: str) -> None:
        self._name = name
        self._inner = inner
        self._code = code

    @property
    def model(self) -> ModalityModel:
        """The pipeline's model; that of a third party names the code too, so that other code is another model."""
        model = _tried(self._name, lambda: self._inner.model)
        if model.modality != self._name:
            raise BiometricError(f"the modality {self._name} gives the model of another")
        return msgspec.structs.replace(model, model=f"{model.model}+code:{self._code}") if self._code else model

    def examine(self, captures: Sequence[Any], purpose: Purpose) -> Examined:
        """Features, or the reason for a refusal."""
        return _tried(self._name, lambda: self._inner.examine(captures, purpose))

    def enrol(self, samples: Sequence[Any]) -> bytes:
        """The template's byte form."""
        return _tried(self._name, lambda: self._inner.enrol(samples))

    def match(self, template: bytes, sample: Any) -> Match:
        """The comparison's result."""
        return _tried(self._name, lambda: self._inner.match(template, sample))

    def warm_up(self) -> None:
        """Load the modality's models."""
        _tried(self._name, self._inner.warm_up)


class ContainedRefuser(ContainedPipeline):
    """One that tells a capture that was given before."""

    def __init__(self, name: str, inner: Pipeline, code: str) -> None:
        super().__init__(name, inner, code)
        if not isinstance(inner, RefusesReplays):
            raise TypeError(f"the pipeline of {name} does not tell replays")
        self._refuser = inner

    def digest(self, sample: Any) -> bytes:
        """What a capture is recognised by; raises `BiometricError` for more than `DIGEST_BYTES`."""
        digest = _tried(self._name, lambda: bytes(self._refuser.digest(sample)))
        if len(digest) > DIGEST_BYTES:
            raise BiometricError(f"the modality {self._name} keeps more of a capture than {DIGEST_BYTES} bytes")
        return digest

    def replayed(self, past: Sequence[bytes], sample: Any) -> bool:
        """Whether a capture was given before."""
        return _tried(self._name, lambda: bool(self._refuser.replayed(past, sample)))

    def repeated(self, sitting: Sequence[bytes], sample: Any) -> bool:
        """Whether a capture was given before in this sitting."""
        return _tried(self._name, lambda: bool(self._refuser.repeated(sitting, sample)))


class ContainedBindable(ContainedPipeline):
    """One whose features are embeddings."""

    def __init__(self, name: str, inner: Pipeline, code: str) -> None:
        super().__init__(name, inner, code)
        if not isinstance(inner, Bindable):
            raise TypeError(f"the pipeline of {name} has no embeddings")
        self._bindable = inner

    @property
    def code(self) -> str:
        """Name of the kind of embedding."""
        return _tried(self._name, lambda: str(self._bindable.code))

    def embedding(self, samples: Sequence[Any]) -> NDArray[np.float32]:
        """The one embedding of several samples; raises `BiometricError` for anything that has no direction."""
        return _tried(self._name, lambda: _directed(self._name, self._bindable.embedding(samples)))

    def side(self, samples: Sequence[Any]) -> bytes:
        """What is kept beside; empty for a pipeline that keeps nothing."""
        inner = self._bindable
        return _tried(self._name, lambda: bytes(inner.side(samples))) if isinstance(inner, KeepsBeside) else b""

    def consistent(self, side: bytes, sample: Any) -> bool:
        """Whether a sample agrees with what is kept; always, where nothing is."""
        inner = self._bindable
        if not isinstance(inner, KeepsBeside):
            return True
        return _tried(self._name, lambda: bool(inner.consistent(side, sample)))


class ContainedBindableRefuser(ContainedBindable, ContainedRefuser):
    """One whose features are embeddings, and that tells a capture that was given before."""


_KINDS: Mapping[tuple[bool, bool], type[ContainedPipeline]] = {
    (False, False): ContainedPipeline,
    (True, False): ContainedRefuser,
    (False, True): ContainedBindable,
    (True, True): ContainedBindableRefuser,
}
"""By whether a pipeline tells replays, and whether its features are embeddings."""


def _directed(name: str, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    if embedding.ndim != 1 or embedding.dtype.kind != "f" or not (embedding**2).sum() > 0:
        raise BiometricError(f"the modality {name} gives an embedding that is none")
    return embedding.astype("float32")


def _tried(name: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except (AgentError, DeviceError):
        raise
    except Exception as error:  # noqa: BLE001 - see above
        _failed(name, error)


def _failed(name: str, error: Exception) -> NoReturn:
    raise BiometricError(
        f"the modality {name} failed: {type(error).__name__}", remedy="Report it to the maker of its package."
    ) from None
