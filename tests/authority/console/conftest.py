"""One house per test module, for tests that leave others' nodes alone; and a fleet that a browser looks at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from authority.planes import operator_server
from authority.roles import Scope
from tests.authority.console.chromium import Tab, open_tab
from tests.authority.console.house import HOST, House, open_house
from tests.authority.console.racks import DAYS, NOW, furnished
from tests.authority.planes.plane import listening


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("console") / "state") as opened:
        yield opened


@pytest.fixture(scope="module")
def racks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A site of so many racks, so many days old, as the module's `RACKS` says."""
    racks, days = getattr(request.module, "RACKS", (24, DAYS))
    with (
        open_house(tmp_path_factory.mktemp("racks") / "state", NOW) as opened,
        furnished(opened, racks, days),
    ):
        yield opened


@pytest.fixture(scope="module")
def url(racks: House) -> Iterator[str]:
    with listening(operator_server(racks.app, racks.ca, HOST, 0)) as running:
        yield f"https://{HOST}:{running.server.port}"


@pytest.fixture(scope="module")
def tab(racks: House, url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """Signed in by typing the token, and nothing else than keys."""
    with open_tab(tmp_path_factory.mktemp("chromium")) as opened:
        opened.go(f"{url}/console/sign-in")
        opened.tab_to("it.id === 'token'")
        opened.write(racks.token("night-desk", [Scope.ADMIN]))
        opened.press("Enter", leads_on=True)
        assert opened.value("document.title") == "Fleet · Keyvigil"
        yield opened
