"""CPU time of opening a bound share on one core, beside the time of a plain cosine, and the size of the shares.

OPENBLAS_NUM_THREADS=1 python benchmarks/bench_unlock.py [--rounds 200]
"""

from __future__ import annotations

import argparse
import time

import msgspec
import numpy as np

from agent.profile.commitment import bind, candidates, parameters_for, refresh

SIZES = {"arcface": 128, "dlib-128": 128, "campplus-192": 192}


def median_ms(work: object, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()  # type: ignore[operator]
        times.append(1000 * (time.process_time() - started))
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    random = np.random.default_rng(1)
    made = {code: random.normal(size=size).astype(np.float32) for code, size in SIZES.items()}
    for code, embedding in made.items():
        codes = {"one": parameters_for(code)}
        _, shares = bind({"one": embedding}, ["other"], codes, bytes(32), b"", random.bytes)
        probe = {"one": embedding + random.normal(0, 0.4, embedding.size).astype(np.float32)}
        opened = median_ms(lambda p=probe, s=shares, c=codes: candidates(s, p, {"other"}, c, bytes(32), b""), rounds)
        print(f"{code:14} unlock {opened:6.2f} ms, {opened / 60:.2f} of the 60 ms allowed")
    two = {"face": made["arcface"], "voice": made["campplus-192"]}
    codes = {"face": parameters_for("arcface"), "voice": parameters_for("campplus-192")}
    _, shares = bind(two, ["fingerprint"], codes, bytes(32), b"", random.bytes)
    both = median_ms(lambda: candidates(shares, two, {"fingerprint"}, codes, bytes(32), b""), rounds)
    again = median_ms(lambda: refresh(shares, random.bytes), rounds)
    print(f"all three      unlock {both:6.2f} ms; refresh {again:.2f} ms")
    print(f"shares of three modalities: {len(msgspec.msgpack.encode(shares))} bytes")


if __name__ == "__main__":
    main()
