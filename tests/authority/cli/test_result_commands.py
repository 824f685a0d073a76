"""`keyvigil-authority result list|subscribers|test`."""

from __future__ import annotations

from authority import results
from tests.authority.cli.conftest import Run, Serving
from tests.authority.planes.test_open_api import insert_node


def test_results_are_listed_and_subscribers_told_of(run: Run, serving: Serving) -> None:
    store, rt = serving.authority.store, serving.authority.runtime
    node_id = insert_node(store, "n1", rt.now())
    store.run(lambda conn: results.publish(conn, rt, node_id, results.Cause.STANDING, rt.now()))
    (listed,) = run("result", "list", "--node", "n1", "--json", *serving.options).value
    assert (listed["node"], listed["cause"]) == ("n1", "standing") and listed["ear"].count(".") == 2
    assert run("result", "list", "--since", rt.now() + 60, "--json", *serving.options).value == []
    assert "standing" in run("result", "list", *serving.options).out
    assert run("result", "subscribers", "--json", *serving.options).value == []
    refused = run("result", "test", "nac", *serving.options)
    assert refused.status != 0 and "result subscribers" in refused.err
