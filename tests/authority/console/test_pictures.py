"""The pages as people see them, for somebody to look at: those of docs/console.md, and more.

`KEYVIGIL_PICTURES` names the folder for them; without it they are taken and thrown away.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from tests.authority.console.chromium import NEEDED, Tab

Image = pytest.importorskip("PIL.Image", reason="no Pillow: pip install keyvigil[evaluation]")
pytestmark = [NEEDED, pytest.mark.slow, pytest.mark.timeout(300)]
COLOURS = 256
"""Of a picture's palette: flat pages need no more, and a picture is a third of the size."""
PICTURES = (
    ("fleet", "", "light", (1120, 1180)),
    ("node", "/nodes/rack-006", "light", (1120, 1240)),
    ("alerts", "/alerts", "light", (1120, 760)),
    ("approvals", "/approvals", "dark", (1120, 900)),
    ("rotation", "/networks/telemetry", "dark", (1120, 1000)),
    ("search", "?q=rack-01&order=name", "dark", (1120, 1000)),
    ("proof", "/audit/700", "light", (1120, 960)),
    ("narrow", "/nodes/rack-010", "dark", (390, 1100)),
)
SHORTER = 'version = "shorter-memory"\n[caps]\none_failure = 500\n[recency]\nhalf_life_presentations = 6.0\n'


def kept(tab: Tab, name: str, fallback: Path) -> int:
    """The picture in the folder; gives the number of its colours, as far as they are counted."""
    folder = Path(os.environ.get("KEYVIGIL_PICTURES", fallback))
    seen = Image.open(io.BytesIO(tab.picture())).convert("RGB")
    seen.quantize(COLOURS).save(folder / f"console-{name}.png", optimize=True)
    return len(seen.getcolors(1 << 20) or [])


@pytest.mark.parametrize(("name", "path", "scheme", "size"), PICTURES, ids=[each[0] for each in PICTURES])
def test_a_page_is_pictured(
    tab: Tab, url: str, tmp_path: Path, name: str, path: str, scheme: str, size: tuple[int, int]
) -> None:
    tab.prefer(color_scheme=scheme)
    tab.size(*size)
    tab.go(f"{url}/console{path}")
    assert kept(tab, name, tmp_path) > 40, "an empty page"


def test_a_replay_is_pictured(tab: Tab, url: str, tmp_path: Path) -> None:
    tab.prefer(color_scheme="light")
    tab.size(1120, 1180)
    tab.go(f"{url}/console/policy")
    for field, text in (("nodes", "rack-01"), ("text", SHORTER)):
        tab.value(f"document.getElementById('{field}').focus()")
        tab.write(text)
    tab.value("document.getElementById('days').value = '7'")
    loads = tab.loads
    tab.value("document.querySelector('form[action=\"/console/policy/replay\"] button').click()")
    tab.wait_for_load(loads)
    assert tab.value("document.querySelector('h1').textContent") == "Replay of shorter-memory"
    assert tab.value("document.querySelectorAll('svg.spark').length") == 10
    assert kept(tab, "replay", tmp_path) > 40
