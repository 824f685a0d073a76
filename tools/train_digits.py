#!/usr/bin/env python3
"""Train the digit network and write its weights in the form that the agent reads.

    tools/train_digits.py --voices DATA/voice --output digits_tdnn.f16 [--without fsdd/lucas,…] [--begin OLD.pt]

DATA/voice holds fsdd, speech_commands (`<subject>/<digit>_<take>.wav`) and librispeech* (`<subject>/*.flac`). Needs
torch, scipy, soundfile, espeak-ng and flite; none of them is needed by the agent. Beside the output lies a checkpoint
(.pt) that `--begin` takes. agent/models/README.md tells which runs made the shipped file.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from digit_voices import Takes, background, people, synthetic

from agent.biometrics.digits._mel import BINS, RATE, log_mel
from agent.biometrics.digits._network import SHAPES

SILENCE, OTHER, STATES, WORDS = 33, 34, 35, 11
NO_WORD = 11
CHANNELS = 96
FRAMES = 360
BATCH, FRESH, BANK = 24, 8, 1500
Sound = NDArray[np.float32]
Span = tuple[float, float, int]


@dataclass
class Material:
    """What utterances are made of, and the generator that draws them."""

    random: np.random.Generator
    many: list[Takes]
    """People with many takes."""
    few: list[Takes]
    made: list[Takes]
    speech: list[Sound]
    weights: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        counts = np.array([sum(map(len, takes.values())) for takes in self.few], np.float64)
        self.weights = counts / counts.sum() if len(counts) else counts

    def speaker(self) -> Takes:
        """Half of the time a real person, else a synthetic one."""
        draw = self.random.random()
        if draw < 0.37 and self.many:
            return self.many[self.random.integers(len(self.many))]
        if draw < 0.6 and self.few:
            return self.few[self.random.choice(len(self.few), p=self.weights)]
        return self.made[self.random.integers(len(self.made))]

    def background(self, seconds: float) -> Sound:
        """A piece of running speech."""
        sound = self.speech[self.random.integers(len(self.speech))]
        at = int(self.random.integers(max(1, len(sound) - int(seconds * RATE))))
        return sound[at : at + int(seconds * RATE)]


@dataclass(frozen=True)
class Example:
    """`mel` `[360, 40]`, `states` `[180]` (-1 where nothing is asked) and spans of words in frames of 20 ms."""

    mel: NDArray[np.float32]
    states: NDArray[np.int64]
    spans: list[Span]


def faster(sound: Sound, factor: float) -> Sound:
    """`sound` played faster, its pitch with it."""
    places = np.linspace(0, len(sound) - 1, int(len(sound) / factor))
    return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


def loudness(sound: NDArray[np.floating]) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(sound**2) + 1e-12))


def silence(material: Material, low: float, high: float) -> Sound:
    """Between `low` and `high` seconds of nothing."""
    return np.zeros(int(material.random.uniform(low, high) * RATE), np.float32)


def utterance(material: Material) -> tuple[Sound, list[Span]]:
    """Three to six digits of one speaker, with pauses or run together; spans are in samples."""
    random, takes = material.random, material.speaker()
    words, speed, tight = list(takes), random.uniform(0.85, 1.18), random.random() < 0.4
    sound, spans = silence(material, 0.05, 0.5), []
    for _ in range(random.integers(3, 7)):
        word = words[random.integers(len(words))]
        take = faster(takes[word][random.integers(len(takes[word]))], speed * random.uniform(0.93, 1.07))
        take = take / loudness(take) * 0.05 * 10 ** (random.normal(0, 2) / 20)
        joined = bool(tight and spans and random.random() < 0.85)
        sound, start = run_together(material, sound, take) if joined else apart(material, sound, take)
        spans.append((start, len(sound), word))
    return np.concatenate([sound, silence(material, 0.05, 0.5)]), spans


def apart(material: Material, sound: Sound, take: Sound) -> tuple[Sound, int]:
    """`take` after a pause, and where it begins."""
    before = np.concatenate([sound, silence(material, 0.02, 0.5)])
    return np.concatenate([before, take]).astype(np.float32), len(before)


def run_together(material: Material, sound: Sound, take: Sound) -> tuple[Sound, int]:
    """Lose a little of the edges and cross-fade, as connected speech does."""
    head, tail, over = (int(limit * material.random.random() * RATE) for limit in (0.035, 0.035, 0.03))
    take = take[head : len(take) - tail].copy() if len(take) - head - tail > 1200 else take.copy()
    over = min(over, len(sound), len(take))
    ramp = np.linspace(0, 1, over, dtype=np.float32)
    mixed = np.concatenate([sound, np.zeros(len(take) - over, np.float32)])
    mixed[len(sound) - over : len(sound)] *= 1 - ramp
    take[:over] *= ramp
    mixed[len(sound) - over :] += take
    return mixed, len(sound) - over // 2


def noise(material: Material, length: int) -> NDArray[np.float64]:
    """White, coloured, hum with hiss, or other people talking."""
    random = material.random
    kind = random.integers(4)
    if kind == 0:
        return random.standard_normal(length)
    if kind == 1:
        spectrum = np.fft.rfft(random.standard_normal(next_fast_len(length, True)))
        spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** random.uniform(0.3, 1)
        return np.fft.irfft(spectrum)[:length]
    if kind == 2:
        time, hertz = np.arange(length) / RATE, random.choice([50, 60, 100, 120, 217])
        hum = [random.random() / n * np.sin(2 * np.pi * hertz * n * time + 6 * random.random()) for n in range(1, 12)]
        return sum(hum) + 0.2 * random.standard_normal(length)
    talk = np.zeros(length)
    for _ in range(random.integers(1, 5)):
        voice = material.background(30.0)
        talk += np.resize(np.roll(voice, random.integers(len(voice))), length) / loudness(voice)
    return talk


def recorded(material: Material, sound: Sound) -> Sound:
    """`sound` in a room, through a microphone or telephone of some colour, with noise at 3 to 45 dB."""
    random = material.random
    if random.random() < 0.5:
        length = int(random.uniform(0.08, 0.5) * RATE)
        tail = random.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        tail *= random.uniform(0.02, 0.25) / np.sqrt(length / 100)
        tail[0] = 1
        sound = fftconvolve(sound, tail)[: len(sound)]
    if random.random() < 0.7:
        size = next_fast_len(len(sound), True)
        hertz = np.fft.rfftfreq(size, 1 / RATE)
        gain = np.interp(hertz, np.linspace(0, RATE / 2, 7), random.normal(0, 4, 7))
        if random.random() < 0.3:
            gain = gain - 40 * ((hertz < random.uniform(200, 350)) | (hertz > random.uniform(3000, 3800)))
        sound = np.fft.irfft(np.fft.rfft(sound, size) * 10 ** (gain / 20), size)[: len(sound)]
    hiss = noise(material, len(sound))
    speaking = sound[np.abs(sound) > np.abs(sound).max() * 0.05]
    level = loudness(speaking) / loudness(hiss) * 10 ** (-random.uniform(3, 45) / 20)
    return (sound + hiss * level).astype(np.float32)


def example(material: Material) -> Example:
    """One utterance, or now and then running speech, as a microphone has it."""
    random = material.random
    spoken = random.random() > 0.12
    sound, spans = utterance(material) if spoken else (faster(material.background(3.0), random.uniform(0.88, 1.15)), [])
    mel = log_mel(recorded(material, sound), round(random.uniform(0.9, 1.12), 2))[:FRAMES]
    if random.random() < 0.5:
        at = random.integers(0, BINS - 4)
        mel[:, at : at + random.integers(1, 6)] = 0
    padded = np.zeros((FRAMES, BINS), np.float32)
    padded[: len(mel)] = mel
    states, inside = labelled(spans, len(mel) // 2, SILENCE if spoken else OTHER)
    jittered = [(a + random.normal(0, 1.2), b + random.normal(0, 1.2), word) for a, b, word in inside]
    return Example(padded, states, jittered + no_words(material, jittered, len(mel) // 2, spoken=spoken))


def labelled(spans: list[Span], frames: int, rest: int) -> tuple[NDArray[np.int64], list[Span]]:
    """State of each frame of 20 ms, thirds of words apart, and the spans that are whole within `frames`."""
    states = np.full(FRAMES // 2, -1)
    states[:frames] = rest
    inside = []
    for start, end, word in ((a / (RATE / 50), b / (RATE / 50), word) for a, b, word in spans):
        if end > frames:
            states[int(start) : frames] = -1
            break
        cuts = [round(start + (end - start) * part / 3) for part in range(4)]
        for part in range(3):
            states[cuts[part] : max(cuts[part + 1], cuts[part] + 1)] = 3 * word + part
        inside.append((start, end, word))
    return states, inside


def no_words(material: Material, spans: list[Span], frames: int, *, spoken: bool) -> list[Span]:
    """Spans that are no word: between two, over two, half of one, or any of running speech."""
    random = material.random
    if not spoken:
        starts = random.uniform(0, frames - 40, 2)
        return [(at, at + random.uniform(10, 35), NO_WORD) for at in starts]
    if len(spans) < 3 or random.random() > 0.6:
        return []
    at = random.integers(len(spans) - 1)
    (a, b, _), (c, d, _) = spans[at], spans[at + 1]
    return [((a + b) / 2, (c + d) / 2, NO_WORD), (a, d, NO_WORD), (a, (a + b) / 2, NO_WORD)]


class Network(nn.Module):
    """`agent.biometrics.digits._network` with batch normalisation and drop-out."""

    def __init__(self) -> None:
        super().__init__()
        plan = [(BINS, 5, 1, 1), (CHANNELS, 3, 2, 1), (CHANNELS, 3, 1, 1), (CHANNELS, 3, 1, 2), (CHANNELS, 3, 1, 4)]
        self.layers = nn.ModuleList(
            nn.Conv1d(inputs, CHANNELS, taps, stride, dilation * (taps // 2), dilation)
            for inputs, taps, stride, dilation in plan
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(CHANNELS) for _ in plan)
        self.drop = nn.Dropout(0.15)
        self.states = nn.Conv1d(CHANNELS, STATES, 1)
        self.embed, self.embed_norm = nn.Linear(3 * CHANNELS, 64), nn.BatchNorm1d(64)
        self.words = nn.Linear(64, WORDS + 1)

    def trunk(self, mel: Tensor) -> Tensor:
        """`[batch, 360, 40]` to `[batch, 96, 180]`."""
        hidden = mel.transpose(1, 2)
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            made = self.drop(functional.relu(norm(layer(hidden))))
            hidden = made + hidden if number > 1 else made
        return hidden

    def name(self, thirds: Tensor) -> Tensor:
        """Logits of the words for spans."""
        return self.words(functional.relu(self.embed_norm(self.embed(self.drop(thirds)))))


def thirds(hidden: Tensor, spans: list[tuple[int, float, float]]) -> Tensor:
    """The means of `hidden` `[batch, 96, n]` over the thirds of each span."""
    sums = functional.pad(hidden.cumsum(2), (1, 0))
    rows = []
    for index, start, end in spans:
        cuts = np.clip(np.round(np.linspace(start, end, 4)), 0, hidden.shape[2] - 1).astype(int)
        ends = [max(b, a + 1) for a, b in pairwise(cuts)]
        parts = [(sums[index, :, b] - sums[index, :, a]) / (b - a) for a, b in zip(cuts[:-1], ends, strict=True)]
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def loss_of(network: Network, batch: list[Example]) -> Tensor:
    """Cross entropies of states and of words, added."""
    hidden = network.trunk(torch.from_numpy(np.stack([one.mel for one in batch])))
    states = torch.from_numpy(np.stack([one.states for one in batch]))
    spans = [(index, a, b) for index, one in enumerate(batch) for a, b, _ in one.spans]
    words = torch.tensor([word for one in batch for _, _, word in one.spans])
    heard = functional.cross_entropy(network.states(hidden), states, ignore_index=-1, label_smoothing=0.05)
    named = functional.cross_entropy(network.name(thirds(hidden, spans)), words, label_smoothing=0.05)
    return heard + named


def train(network: Network, material: Material, steps: int, rate: float) -> None:
    """Fresh examples with some that were seen lately."""
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    bank: list[Example] = []
    for step in range(steps):
        bank = [*bank, *(example(material) for _ in range(FRESH if step else BATCH))][-BANK:]
        older = [bank[at] for at in material.random.integers(0, len(bank), BATCH - FRESH)]
        loss = loss_of(network, bank[-FRESH:] + older)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5)
        optimiser.step()
        schedule.step()
        if step % 50 == 49:
            sys.stdout.write(f"{step + 1} {loss.item():.3f}\n")


def chances(network: Network, material: Material) -> Tensor:
    """How often the network takes a frame for each state, so that the agent can ask by how much it is likelier."""
    counts = np.ones(STATES)
    for one in (example(material) for _ in range(12)):
        shares = torch.softmax(network.states(network.trunk(torch.from_numpy(one.mel)[None])), 1)[0].numpy()
        counts += shares[:, one.states >= 0].sum(axis=1)
    return torch.from_numpy(counts / counts.sum()).float()


def folded(weight: Tensor, bias: Tensor, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """A layer with the normalisation behind it in one."""
    gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return weight * gain.reshape(-1, *[1] * (weight.dim() - 1)), (bias - norm.running_mean) * gain + norm.bias


@torch.no_grad()
def weights(network: Network, material: Material) -> bytes:
    """The layers in the order of `SHAPES`, normalisation and chances folded in."""
    network.eval()
    parts: list[Tensor] = []
    for layer, norm in zip(network.layers, network.norms, strict=True):
        weight, bias = folded(layer.weight, layer.bias, norm)
        parts += [weight.permute(2, 1, 0).reshape(-1, CHANNELS), bias]
    parts += [network.states.weight[:, :, 0].T, network.states.bias - torch.log(chances(network, material))]
    weight, bias = folded(network.embed.weight, network.embed.bias, network.embed_norm)
    parts += [weight.T, bias, network.words.weight.T, network.words.bias]
    if [tuple(part.shape) for part in parts] != [shape for pair in SHAPES for shape in pair]:
        raise SystemExit("the network is not of the form that the agent reads")
    return b"".join(part.numpy().astype("<f2").tobytes() for part in parts)


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--without", default="", help="set/subject to leave out, by comma")
    parser.add_argument("--begin", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--favour", default="", help="a variant of espeak-ng to hear more of")
    parser.add_argument("--steps", type=int, default=550)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    torch.manual_seed(chosen.seed)
    torch.set_num_threads(1)
    random = np.random.default_rng(chosen.seed)
    without = {name for name in chosen.without.split(",") if name}
    many = people(chosen.voices, "fsdd", without)
    few = people(chosen.voices, "speech_commands", without)
    material = Material(random, many, few, synthetic(random, chosen.favour), background(chosen.voices))
    network = Network()
    if chosen.begin:
        network.load_state_dict(torch.load(chosen.begin, weights_only=True))
    train(network, material, chosen.steps, chosen.rate)
    torch.save(network.state_dict(), chosen.output.with_suffix(".pt"))
    chosen.output.write_bytes(weights(network, material))


if __name__ == "__main__":
    main()
