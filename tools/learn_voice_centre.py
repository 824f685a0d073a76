#!/usr/bin/env python3
"""Learns a centre of voices from recordings `<person>/<recording>`: the shipped one, or a site's own from it.

The shipped agent/models/voice_centre.npy comes of readers of LibriSpeech, one recording each (agent/models/README.md):

    tools/learn_voice_centre.py --people DIR --omit 8226 --anew --output agent/models/voice_centre.npy

A site leaves out `--anew`: its people, who consented, move the shipped centre. Names and recordings are not kept.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from agent.biometrics import BiometricError, CaptureRefused, Recording, VoicePipeline, VoiceSettings
from agent.biometrics.voice_centre import VoiceCentre, opened

TELEPHONE = 8_000
Embeddings = list[list[np.ndarray]]


def recordings(person: Path) -> Iterator[Recording]:
    """What a person said, the first channel of each file."""
    for path in sorted(path for path in person.iterdir() if path.is_file()):
        pcm, rate = soundfile.read(path, dtype="int16", always_2d=True)
        yield Recording(np.ascontiguousarray(pcm[:, 0]), rate)


def on_telephone(recording: Recording) -> Recording:
    """The recording at 8 kHz."""
    pcm = soxr.resample(recording.pcm.astype(np.float64), recording.rate, TELEPHONE)
    return Recording(np.clip(np.rint(pcm), -32768, 32767).astype(np.int16), TELEPHONE)


def learn(pipeline: VoicePipeline, people: list[Path]) -> dict[bool, Embeddings]:
    """Embeddings of each person in the full band (of those recorded in it) and in the telephone band."""
    found: dict[bool, Embeddings] = {False: [], True: []}
    for person in people:
        own: dict[bool, list[np.ndarray]] = {False: [], True: []}
        for recording in recordings(person):
            for version in (recording, on_telephone(recording)):
                try:
                    embedding, narrow = pipeline.raw_embedding(version)
                except CaptureRefused:
                    continue
                own[narrow].append(embedding)
        for narrow, group in own.items():
            found[narrow].append(group)
    return found


def main() -> None:
    """Read the recordings, write the centre."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=Path, required=True, metavar="DIR")
    parser.add_argument("--omit", action="append", default=[], metavar="PERSON")
    parser.add_argument("--anew", action="store_true", help="from these people alone, not from the shipped centre")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    people = sorted(one for one in arguments.people.iterdir() if one.is_dir() and one.name not in arguments.omit)
    try:
        embeddings = learn(VoicePipeline(VoiceSettings()), people)
        centre = VoiceCentre(np.zeros((2, 192), np.float32)) if arguments.anew else opened("", "")
    except BiometricError as error:
        sys.exit(f"{error}. {error.remedy}")
    for narrow, groups in embeddings.items():
        if arguments.anew:
            centre = centre.adapted(groups, narrow=narrow, prior=0)
        else:
            centre = centre.adapted(groups, narrow=narrow)
        sys.stdout.write(f"{'telephone' if narrow else 'full'} band: {sum(map(bool, groups))} people\n")
    arguments.output.write_bytes(centre.to_bytes())
    digest = hashlib.sha256(arguments.output.read_bytes()).hexdigest()
    sys.stdout.write(f"{arguments.output}: SHA-256 {digest}\n")


if __name__ == "__main__":
    main()
