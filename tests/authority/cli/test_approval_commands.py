"""`keyvigil-authority approvals …`, `token …` and `api schema`, against an authority that asks for two persons."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from authority.trust.policy import ApprovalRules
from tests.authority.cli.conftest import Run, Serving


def two_persons(run: Run, serving: Serving) -> None:
    named = run("token", "whose", "first-operator", "--identity", "person:first", *serving.options)
    assert named.status == 0, named.err
    rt = serving.authority.runtime
    rt.policy = msgspec.structs.replace(rt.policy, approvals=ApprovalRules(persons=2))


def token(run: Run, serving: Serving, name: str, role: str, *more: object) -> Path:
    file = serving.state / f"{name}.token"
    whose = ("--identity", f"person:{name}")
    made = run("token", "create", name, "--role", role, "--out", file, *whose, *serving.options, *more)
    assert made.status == 0, made.err
    return file


def test_an_order_waits_is_listed_and_approved_by_another(run: Run, serving: Serving) -> None:
    second = token(run, serving, "second", "admin")
    two_persons(run, serving)
    third = ("token", "create", "third", "--role", "operator", "--out", serving.state / "third", *serving.options)
    nameless = run(*third)
    assert nameless.status == 1 and "person:NAME" in nameless.err
    asked = run(*third, "--identity", "oidc:corp/third")
    assert asked.status == 0 and "approvals approve 1" in asked.out
    listed = run("approvals", "list", "--only", "open", *serving.options, "--json").value
    assert [(each["id"], each["action"], each["requested_by"]) for each in listed] == [
        (1, "token-create", "first-operator")
    ]
    assert "third" in run("approvals", "list", *serving.options).out
    assert run("approvals", "approve", "1", *serving.options).status == 1
    done = run("approvals", "approve", "1", *serving.options, "--token-file", second, "--reason", "known")
    assert (done.status, done.out.strip()) == (0, "order 1: carried out")
    names = {each["name"] for each in run("token", "list", *serving.options, "--json").value}
    assert names == {"first-operator", "second", "third"}


def test_an_order_is_taken_back(run: Run, serving: Serving) -> None:
    two_persons(run, serving)
    third = ("token", "create", "third", "--role", "admin", "--identity", "person:third")
    run(*third, "--out", serving.state / "third", *serving.options)
    assert run("approvals", "reject", "1", *serving.options).status == 0
    assert "is rejected" in run("approvals", "reject", "1", *serving.options).err


def test_the_description_needs_no_authority(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    assert run("api", "schema", "--out", file).status == 0
    assert json.loads(file.read_text())["openapi"].startswith("3.1")
    failed = run("api", "schema", "--out", tmp_path / "none" / "file")
    assert failed.status == 1 and "remedy" in failed.err
