"""`keyvigil-authority driver …` against an authority that asks for two persons."""

from __future__ import annotations

from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_approval_commands import token, two_persons

OLD, NEW = "a" * 64, "b" * 64


def test_two_persons_let_a_driver_stand_in_and_one_takes_it_back(run: Run, serving: Serving) -> None:
    second = token(run, serving, "second", "operator")
    two_persons(run, serving)
    asked = run("driver", "follow", OLD, NEW, "--reason", "1.1", *serving.options)
    assert asked.status == 0 and "approvals approve 1" in asked.out
    assert run("driver", "list", *serving.options, "--json").value == []
    assert run("approvals", "approve", "1", *serving.options).status == 1
    assert run("approvals", "approve", "1", *serving.options, "--token-file", second).status == 0
    (row,) = run("driver", "list", *serving.options, "--json").value
    assert (row["old"], row["new"], row["reason"], row["allowed_by"]) == (OLD, NEW, "1.1", "first-operator")
    assert f"{NEW}\n   stands in for {OLD}\n" in run("driver", "list", *serving.options).out
    assert run("driver", "withdraw", row["id"], "--reason", "faulty", *serving.options).status == 0
    (row,) = run("driver", "list", *serving.options, "--json").value
    assert row["withdrawn_by"] == "first-operator"


def test_what_is_no_hash_is_refused_with_the_remedy(run: Run, serving: Serving) -> None:
    failed = run("driver", "follow", "1.0", "1.1", *serving.options)
    assert failed.status == 1
    assert "keyvigil devices" in failed.err
    failed = run("driver", "withdraw", "7", *serving.options)
    assert failed.status == 1 and "driver list" in failed.err
