"""`keyvigil-authority rotation …` against a serving authority."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from tests.authority.cli.conftest import Run, Serving
from tests.authority.cli.test_commands import add_node
from tests.authority.world import tpm2b_public


def test_a_rotation_is_started_replaced_and_shown(serving: Serving, run: Run):
    key = tpm2b_public(ec.generate_private_key(ec.SECP256R1()).public_key())
    add_node(serving, "r1", score=900, tier="high", delivery_public=key)
    assert run("network", "create", "ring", *serving.options, "--json").status == 0
    add = ("network", "add", "ring", "--node", "r1", "--address", "10.0.9.1")
    assert run(*add, *serving.options, "--json").status == 0
    assert run("rotation", "start", "ring", *serving.options, "--json").value == {"ok": True}
    assert run("rotation", "start", "ring", "--node", "r1", *serving.options).status == 0
    assert run("rotation", "emergency", "ring", "--reason", "stolen", "--yes", *serving.options).status == 0
    [shown] = run("rotation", "show", "ring", *serving.options, "--json").value
    assert shown["network"] == "ring"
    assert shown["stragglers"] == []
    assert {*shown["pairs"]} == {"preparing", "switching", "draining", "settled", "given-up"}
    assert "ring" in run("rotation", "show", *serving.options).out


def test_what_cannot_be_rotated_is_said(serving: Serving, run: Run):
    assert run("rotation", "start", "nowhere", *serving.options, "--json").status == 1
    assert run("rotation", "show", "nowhere", *serving.options, "--json").status == 1
    unconfirmed = run("rotation", "emergency", "nowhere", "--reason", "r", *serving.options)
    assert unconfirmed.status != 0
