"""CAM++ speaker embedding: Kaldi filter bank and ONNX network."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.biometrics import parameters
from agent.biometrics._onnx import open_shipped
from agent.biometrics.errors import ModelError

_BINS = 80


class CampPlusEngine:
    """The network in one CPU thread. Its recipe is in agent/models/README.md."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None

    def load(self) -> None:
        """Check and load the network; raises `ModelError`."""
        with self._lock:
            if self._session is None:
                self._session = _open_session()

    def describe(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The embedding `[192]`, not normalised, of at least half a second of speech in -1..1 at 16 kHz."""
        self.load()
        features = filter_bank(samples)[np.newaxis]
        embedding: NDArray[np.float32] = self._session.run(["emb"], {"feats": features})[0][0]
        return embedding


def filter_bank(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """80 log mel energies per 10 ms as `[frames, 80]`, each bin with its mean over the utterance removed."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = parameters.VOICE_RATE
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = _BINS
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(parameters.VOICE_RATE, samples.tolist())
    bank.input_finished()
    frames = np.stack([bank.get_frame(index) for index in range(bank.num_frames_ready)])
    centred: NDArray[np.float32] = frames - frames.mean(axis=0)
    return centred


def _open_session() -> Any:
    try:
        import kaldi_native_fbank  # noqa: F401
    except ImportError as error:
        raise ModelError(f"the voice library does not load: {error}") from None
    return open_shipped(parameters.VOICE_MODEL_FILE, parameters.VOICE_MODEL_SHA256)
