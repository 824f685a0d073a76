"""`reference …` and attestation results over the operator plane."""

from __future__ import annotations

import json
import ssl
import urllib.request

import pytest

from authority import references
from authority.references import Kind
from authority.store import schema
from tests.authority.challenges.ear_form import conforms, verified
from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node


def with_candidate(serving: Serving) -> int:
    """A node with a learned state and a candidate; gives the candidate's number."""
    node_id = add_node(serving)

    def note(conn) -> int:
        references.learn(conn, node_id, Kind.PCRS, {"0": "00" * 32, "4": "00" * 32}, 1.0)
        node = conn.execute(schema.node.select()).one()
        references.note_candidate(conn, node, Kind.PCRS, {"0": "00" * 32, "4": "11" * 32}, 2.0)
        return references.listing(conn, node_id, "candidate")[0]["id"]

    return serving.authority.store.run(note)


def test_a_candidate_is_listed_shown_and_accepted(run: Run, serving: Serving):
    number = with_candidate(serving)
    listed = run("reference", "list", "--only", "candidate", "--json", *serving.options).value
    assert [(each["id"], each["node"]) for each in listed] == [(number, "n1")]
    shown = run("reference", "show", number, "--json", *serving.options).value
    assert shown["changes"] == {"4": ["00" * 32, "11" * 32]} and shown["events"] is None
    assert "11" * 8 in run("reference", "show", number, *serving.options).out.replace("\n", "").replace(" ", "")
    assert run("reference", "accept", number, *serving.options).status == 0
    assert run("reference", "list", "--node", "n1", "--json", *serving.options).value[1]["state"] == "accepted"
    ended = run("reference", "stage", number, "--node", "n1", "--json", *serving.options)
    assert ended.status == 1 and "has not held" in ended.value["error"]
    assert run("reference", "rollback", number, "--json", *serving.options).value["nodes"] == 1
    assert run("reference", "reject", number, *serving.options).status == 1
    assert run("reference", "learn", "--node", "n1", *serving.options).status == 0
    assert [each["state"] for each in run("reference", "list", "--json", *serving.options).value] == ["awaited"]


def test_a_value_goes_out_in_waves_and_is_taken_back(run: Run, serving: Serving):
    number = with_candidate(serving)
    for name in ("n2", "n3"):
        add_node(serving, name)
    assert run("reference", "accept", number, *serving.options).status == 0
    held = schema.reference_value.update().values(held_at=9e9, decided_at=1.0)
    serving.authority.store.run(lambda conn: conn.execute(held) and None)
    assert run("reference", "stage", number, "--percent", 50, "--json", *serving.options).value["nodes"] == 1
    early = run("reference", "promote", number, *serving.options)
    assert early.status == 1 and "1 of 2 nodes" in early.err
    assert run("reference", "promote", number, "--held", 50, "--json", *serving.options).value["nodes"] == 1
    rollout = run("reference", "rollout", number, "--json", *serving.options).value
    assert [(each["node"], each["canary"], each["held"]) for each in rollout] == [
        ("n1", True, True),
        ("n2", False, False),
        ("n3", False, False),
    ]
    assert "n3" in run("reference", "rollout", number, *serving.options).out
    assert run("reference", "rollback", number, "--json", *serving.options).value["nodes"] == 3


@pytest.mark.parametrize("wrong", [(), ("--node", "n1", "--percent", 5), ("--network", "nowhere"), ("--percent", 0)])
def test_a_stage_that_names_no_nodes_or_both_ways_is_refused(run: Run, serving: Serving, wrong: tuple[object, ...]):
    number = with_candidate(serving)
    assert run("reference", "stage", number, *wrong, *serving.options).status in {1, 2}
    assert [each["state"] for each in run("reference", "list", "--json", *serving.options).value] == [
        "learned",
        "candidate",
    ]


def test_what_is_not_there_is_said(run: Run, serving: Serving):
    assert run("reference", "list", *serving.options).status == 0
    for words in (("show", 7), ("accept", 7), ("learn", "--node", "nobody"), ("list", "--node", "nobody")):
        ended = run("reference", *words, "--json", *serving.options)
        assert ended.status == 1 and ended.value["error"] and ended.value["remedy"], words


def fetch(serving: Serving, path: str):
    context = ssl.create_default_context(cafile=str(serving.authority.ca.ca_file))
    token = serving.authority.site.operator_token.read_text().strip()
    request = urllib.request.Request(serving.url + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.load(answer)


def test_a_relying_party_gets_a_result_and_the_key_to_it(serving: Serving):
    add_node(serving)
    found = verified(fetch(serving, "/v1/nodes/n1/ear?nonce=dGhlaXJzLTEyMzQ")["ear"], fetch(serving, "/v1/jwks"))
    conforms(found)
    assert found["eat_nonce"] == "dGhlaXJzLTEyMzQ"
    assert set(found["submods"]) == {"node", "admin"}
