"""`keyvigil-authority token persons|shut-out|readmit`."""

from __future__ import annotations

from pathlib import Path

from authority.oidc import people
from authority.oidc.claims import Person
from authority.roles import Scope
from tests.authority.cli.conftest import Run, Serving

ANN = "oidc:corp/ann"


def test_a_person_is_listed_shut_out_and_readmitted(run: Run, serving: Serving) -> None:
    now = serving.authority.runtime.now()
    person = Person(ANN, "corp", "ann", frozenset({Scope.READ}), now + 600)
    serving.authority.store.run(lambda conn: people.admit(conn, person, now))
    for command, state in (("persons", "standing"), ("shut-out", "shut-out"), ("readmit", "absent")):
        done = run("token", command, *([] if command == "persons" else [ANN]), *serving.options)
        assert done.status == 0 and ("standing" in done.out or ANN in done.out)
        (listed,) = run("token", "persons", "--json", *serving.options).value
        assert (listed["name"], listed["state"]) == (ANN, state)


def test_nobody_whom_nobody_saw_is_shut_out(run: Run, serving: Serving) -> None:
    done = run("token", "shut-out", "oidc:corp/none", *serving.options)
    assert done.status != 0 and "token persons" in done.err


def test_a_token_says_whose_it_is(serving: Serving, run: Run, tmp_path: Path) -> None:
    wanted = ("token", "create", "ann-cli", "--role", "viewer", "--out", tmp_path / "token", *serving.options)
    assert run(*wanted, "--identity", "ann").status == 1 and not (tmp_path / "token").exists()
    assert run(*wanted, "--identity", "oidc:corp/ann").status == 0
    listed = {each["name"]: each["identity"] for each in run("token", "list", *serving.options, "--json").value}
    assert listed == {"ann-cli": "oidc:corp/ann", "first-operator": ""}
    assert "oidc:corp/ann" in run("token", "list", *serving.options).out
