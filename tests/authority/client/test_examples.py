"""The client against a real operator plane over TLS; the examples of docs/api.md are among what is run."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from authority.alerts.webhook import signature
from authority.client import ApiError, OpenApi
from authority.config import AuthorityConfig, Listener, Results, Site
from authority.planes import operator_server
from authority.results import subscribers
from authority.results.delivering import written
from tests.authority.planes.operator_site import OperatorSite, open_operator_site
from tests.authority.planes.plane import HOST, listening
from tests.authority.planes.test_answers import populate
from tests.authority.planes.test_open_api import add_node

DOCS = Path(__file__).parents[3] / "docs" / "api.md"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SERVER_PACKAGES = ("fastapi", "starlette", "sqlalchemy", "alembic", "uvicorn", "pydantic")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorSite]:
    opened = open_operator_site(tmp_path_factory.mktemp("client"))
    populate(opened)
    opened.runtime.now = time.time
    yield opened
    opened.store.close()


@pytest.fixture(scope="module")
def url(site: OperatorSite) -> Iterator[str]:
    with listening(operator_server(site.app, site.ca, HOST, 0)) as running:
        yield f"https://{HOST}:{running.server.port}"


def api_of(site: OperatorSite, url: str, name: str = "admin") -> OpenApi:
    return OpenApi(url, token=site.tokens[name], ca_file=site.ca.ca_file)


def examples() -> list[str]:
    found = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) >= 4
    return found


def test_the_examples_run(site: OperatorSite, url: str, tmp_path: Path) -> None:
    token = tmp_path / "operator.token"
    token.write_text(site.tokens["admin"] + "\n")
    printed: list[tuple[object, ...]] = []
    given: dict[str, Any] = {"URL": url, "TOKEN_FILE": token, "CA_FILE": site.ca.ca_file, "SECRET": SECRET}
    given["print"] = lambda *words: printed.append(words)
    for example in examples():
        exec(compile(example, str(DOCS), "exec"), given)
    assert ("n1", "standing") in [words[:2] for words in printed]
    try_receiving(given)
    assert printed[-1] == ("n1", "contraindicated")
    given["api"].close()


def try_receiving(given: dict[str, Any]) -> None:
    """Give the example of a subscriber a message as it is sent, and one that somebody else signed."""
    issued = next(given["api"].attestation_results())
    body = written("attestation-result", issued.at, {"node": issued.node, "ear": issued.ear})
    stamp = str(int(time.time()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    headers = {"webhook-id": "1", "webhook-timestamp": stamp}
    for signer, refused in ((b"another", pytest.raises(WebhookVerificationError)), (key, nullcontext())):
        with refused:
            signed = {"webhook-signature": f"v1,{signature(signer, '1', stamp, body)}"}
            given["received"](headers | signed, body)


def test_the_settings_in_the_documentation_are_good(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    chosen = [tomllib.loads(each)["results"] for each in blocks if "[results]" in each]
    place = Listener("127.0.0.1", 1)
    (to,) = subscribers(
        Site(tmp_path, AuthorityConfig(["a"], place, place, results=msgspec.convert(chosen[0], Results)))
    )
    assert (to.name, to.backlog) == ("nac", 100_000)


def test_an_example_that_is_wrong_is_noticed(site: OperatorSite, url: str) -> None:
    with api_of(site, url) as api, pytest.raises(ApiError, match="no node named"):
        exec("api.node('nobody')", {"api": api})


def test_pages_are_followed(site: OperatorSite, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with api_of(site, url) as api:
        asked: list[str] = []
        api._http.event_hooks["request"] = [lambda request: asked.append(request.url.query.decode())]
        records = [each.seq for each in api._pages("/v1/audit", type(next(api.audit())), {"limit": 2})]
    assert records == [*range(1, len(records) + 1)] and len(asked) >= len(records) // 2


def test_a_refusal_carries_the_problem(site: OperatorSite, url: str) -> None:
    with api_of(site, url, "viewer") as api, pytest.raises(ApiError) as refused:
        api.isolate("n1", "why")
    assert refused.value.status == 403 and refused.value.problem is not None and refused.value.problem.remedy


def test_a_wrong_authority_is_not_believed(site: OperatorSite, url: str, tmp_path: Path) -> None:
    other = open_operator_site(tmp_path)
    with OpenApi(url, token="kvo1.secret", ca_file=other.ca.ca_file) as api, pytest.raises(ApiError) as refused:
        api.node("n1")
    assert "does not answer" in str(refused.value) and "kvo1" not in str(refused.value)
    other.store.close()


def test_an_order_that_is_sent_twice_is_carried_out_once(site: OperatorSite, url: str) -> None:
    with api_of(site, url) as api:
        number = next(api.alerts()).id
        for _ in range(2):
            assert api.acknowledge(number, "seen", key="one-order").ok
        with pytest.raises(ApiError, match="acknowledged alert"):
            api.acknowledge(number, "seen")  # the control: under another key it is another order
    assert site.audits("alert-acknowledged").count("admin") == 1


def test_many_at_once(site: OperatorSite, url: str) -> None:
    add_node(site, "n7")
    with api_of(site, url) as api:
        assert [each.name for each in api.join_tokens(["rack1-01", "rack1-02"])] == ["rack1-01", "rack1-02"]
        with pytest.raises(ApiError, match="line 2: a comes twice"):
            api.join_tokens(["a", "a"])
        assert [(each.admin, each.node) for each in api.tickets([("eve", "n7")])] == [("eve", "n7")]
        assert [each.administrators for each in api.node_roster(search="n7")] == [[]]
        done = api.revoke_everywhere("eve", "left")
        assert done.ok and [each.state for each in api.administrator_roster(search="eve")] == ["revoked"]
        assert api.readmit("eve", "came back").ok
        assert {each.subject for each in api.fleet_orders()} == {"ada"}  # eve had no record anywhere


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_is_never_another_resource(site: OperatorSite, url: str, name: str) -> None:
    with api_of(site, url) as api, pytest.raises(ApiError, match="not a name"):
        api.node(name)


def test_what_is_no_answer_of_an_authority_is_an_error_of_ours(site: OperatorSite) -> None:
    html = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with OpenApi("https://a", ca_file=site.ca.ca_file, transport=html) as api, pytest.raises(ApiError, match="not as"):
        api.node("n1")


def test_the_client_loads_no_server_package() -> None:
    code = f"import sys, authority.client; print([n for n in {SERVER_PACKAGES!r} if n in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert ran.stdout.strip() == "[]"
