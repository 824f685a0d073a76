"""`[[oidc]]` in authority.toml: read back, refused where it could not be believed, and in force when served."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from authority.cli.setup import DEFAULT_POLICY
from authority.config import AuthorityConfig, ConfigError, Listener, OidcProvider, Site, load_site, render
from authority.oidc import sign_on
from authority.oidc.keys import FAMILIES
from authority.planes import Hub
from authority.roles import Role
from authority.service import _operator_context, initialise, open_authority
from tests.authority.oidc.forge import chosen
from tests.authority.oidc.site import config
from tests.authority.planes.plane import HOST

DOCS = Path(__file__).parents[3] / "docs" / "api.md"


def believed(folder: Path, *providers: OidcProvider) -> object:
    return sign_on(Site(folder, config(*providers)), lambda: 0.0)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = config(chosen(), chosen(name="other", issuer='https://o"dd', claim=("a", "b"), roles={'"x" = 1': "tap"}))
    (tmp_path / "authority.toml").write_text(render(written), encoding="utf-8")
    assert load_site(tmp_path).config == written


def test_the_example_of_the_documentation_is_good(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (said,) = next(tomllib.loads(each)["oidc"] for each in blocks if "[[oidc]]" in each)
    (tmp_path / said["ca"]).touch()
    assert believed(tmp_path, msgspec.convert(said, OidcProvider)) is not None


def test_every_role_may_be_given() -> None:
    (roles,) = (each.type for each in msgspec.inspect.type_info(OidcProvider).fields if each.name == "roles")  # type: ignore[attr-defined]
    assert set(roles.value_type.values) == {role.value for role in Role}


def test_no_algorithm_that_may_be_allowed_is_symmetric() -> None:
    assert not any(name.startswith(("HS", "none")) for name in FAMILIES)


WRONG: dict[str, dict[str, Any]] = {
    "plain HTTP": {"issuer": "http://id.example"},
    "no address": {"issuer": "id.example"},
    "a query": {"issuer": "https://id.example/?a=b"},
    "a symmetric algorithm": {"algorithms": ("RS256", "HS256")},
    "no algorithm": {"algorithms": ()},
    "none": {"algorithms": ("none",)},
    "a CA file that is not there": {"ca": "nowhere.pem"},
}


@pytest.mark.parametrize("flaw", WRONG)
def test_what_could_not_be_believed_is_refused(tmp_path: Path, flaw: str) -> None:
    with pytest.raises(ConfigError, match="identity provider corp") as refused:
        believed(tmp_path, chosen(**WRONG[flaw]))
    assert refused.value.remedy


@pytest.mark.parametrize("same", [{"name": "other"}, {"issuer": "https://other.example"}])
def test_two_of_one_name_or_issuer_are_refused(tmp_path: Path, same: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="two tables"):
        believed(tmp_path, chosen(), chosen(**same))
    assert believed(tmp_path, chosen(), chosen(name="other", issuer="https://other.example"))  # the control


def test_an_authority_that_serves_believes_whom_it_names(tmp_path: Path) -> None:
    def context(*providers: OidcProvider) -> Any:
        place = Listener(HOST, 1)
        site = Site(tmp_path, AuthorityConfig([HOST], place, place, oidc=[*providers]))
        if not site.path("ca").exists():
            site.path(site.config.policy).write_text(DEFAULT_POLICY, encoding="utf-8")
            initialise(site, [HOST])
        authority = open_authority(site)
        try:
            return _operator_context(authority, Hub(), None)  # type: ignore[arg-type]
        finally:
            authority.store.close()

    assert context(chosen()).sign_on is not None and context().sign_on is None
