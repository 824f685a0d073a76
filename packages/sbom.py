"""Software bill of materials as CycloneDX 1.6 (ECMA-424), from a lock file and the shipped models.

`python -m packages.sbom PROGRAM [--site FOLDER]` prints it; FOLDER is a site-packages folder that tells the licences,
by default this interpreter's own. The same sources and SOURCE_DATE_EPOCH give the same text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packages.programs import PROGRAMS, Program, project

Component = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_SPACE = uuid.UUID("6f0cf8f5-2f0b-5b0a-9d63-3b1b8f6d7f11")
_MODEL_LICENCES = {
    "campplus_192_fp16w.onnx": "Apache-2.0",
    "digits_tdnn.f16": "CC-BY-SA-4.0",
    "dlib_mmod_fp16w.onnx": "public domain",
    "dlib_resnet_128_fp16w.onnx": "public domain",
    "face_centre.npy": "Apache-2.0",
    "leader.onnx": "MIT",
    "voice_centre.npy": "Apache-2.0",
}
"""As agent/models/NOTICE tells; a model that is not named here cannot be shipped."""


def bill(program: Program, source: Path, site: Sequence[str], when: int) -> dict[str, Any]:
    """The bill of materials of `program`; `site` are folders with installed packages, `when` a POSIX time in seconds.

    Raises `KeyError` for a model file without a licence.
    """
    table = project(source)
    own = _component(program.package, table["version"], f"pkg:generic/{program.package}@{table['version']}")
    own |= {"type": "application", "licenses": [{"expression": table["license"]}]}
    parts = [*locked(source / program.lock, site), *(_models(source) if "agent" in program.folders else ())]
    identity = uuid.uuid5(_SPACE, json.dumps([own, parts], sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": identity.urn,
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when)),
            "lifecycles": [{"phase": "build"}],
            "component": own,
        },
        "components": parts,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": sorted(part["bom-ref"] for part in parts)}],
    }


def locked(lock: Path, site: Sequence[str]) -> Iterator[Component]:
    """Every pin of a lock file: package URL, licence, and the hashes that are accepted of its files."""
    licences = {_normal(each.name): _licence(each) for each in distributions(path=[*site])}
    for block in re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8")):
        pin = _PIN.match(block)
        if pin is None:
            continue
        name, version = pin.groups()
        part = _component(name, version, f"pkg:pypi/{_normal(name)}@{version}")
        if licence := licences.get(_normal(name)):
            part["licenses"] = [licence]
        files = [{"alg": "SHA-256", "content": digest} for digest in _HASH.findall(block)]
        reference = {"type": "distribution", "url": f"https://pypi.org/project/{_normal(name)}/{version}/"}
        yield part | {"externalReferences": [reference | {"hashes": files}]}


def _models(source: Path) -> Iterator[Component]:
    for file in sorted((source / "agent/models").iterdir()):
        if file.suffix not in {".onnx", ".npy", ".f16"}:
            continue
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        part = _component(file.name, digest[:12], f"model:{file.name}")
        licence = _MODEL_LICENCES[file.name]
        del part["purl"]
        named = {"name": licence} if licence == "public domain" else {"id": licence}
        yield part | {
            "type": "machine-learning-model",
            "licenses": [{"license": named}],
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }


def _component(name: str, version: str, reference: str) -> Component:
    return {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}


def _licence(package: Distribution) -> dict[str, Any] | None:
    """What the package's own metadata says: an SPDX expression, or words."""
    if expression := package.metadata["License-Expression"]:
        return {"expression": expression}
    words = [each for each in package.metadata.get_all("Classifier") or () if each.startswith("License ::")]
    stated = (package.metadata["License"] or "").strip().partition("\n")[0]
    name = stated if 0 < len(stated) < 60 else ", ".join(word.rpartition(" :: ")[2] for word in words)
    return {"license": {"name": name}} if name else None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    """Print the bill of the program that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=sorted(PROGRAMS))
    parser.add_argument("--source", type=Path, default=ROOT)
    parser.add_argument("--site", action="append")
    chosen = parser.parse_args()
    when = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    found = bill(PROGRAMS[chosen.program], chosen.source, chosen.site or sys.path, when)
    json.dump(found, sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
