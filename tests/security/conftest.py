"""The authority, nodes and planes of `tests/authority`: flaws are looked for where the others look for function."""

from __future__ import annotations

from tests.authority.challenges.conftest import enrolled, site, template
from tests.authority.conftest import ca, enclaves, machine, other, tpm_maker
from tests.authority.planes.conftest import own_plane, plane

__all__ = ["ca", "enclaves", "enrolled", "machine", "other", "own_plane", "plane", "site", "template", "tpm_maker"]
