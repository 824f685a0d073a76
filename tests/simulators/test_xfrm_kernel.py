"""The model of the kernel's IPsec tables, by itself."""

from __future__ import annotations

import struct

import pytest

from simulators.devices.xfrm_kernel import XfrmFault, XfrmKernel
from tests.agent.xfrm.test_wire import GOLDEN_POLICY, GOLDEN_STATE

STATE, POLICY = bytes.fromhex(GOLDEN_STATE), bytes.fromhex(GOLDEN_POLICY)
STATE_ID = STATE[56:72] + STATE[72:76] + STATE[212:214] + STATE[76:77] + b"\0"
POLICY_ID = POLICY[:56] + bytes(4) + POLICY[160:161] + bytes(3)
NEWSA, DELSA, GETSA, DELPOLICY, GETPOLICY, UPDPOLICY, UPDSA = 0x10, 0x11, 0x12, 0x14, 0x15, 0x19, 0x1A


def ask(kernel: XfrmKernel, kind: int, body: bytes = b"", flags: int = 5) -> list[bytes]:
    with kernel.connect() as client:
        client.settimeout(5)
        client.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answers = [client.recv(1 << 16)]
        while flags & 0x300 and struct.unpack_from("=H", answers[-1], _last(answers[-1]) + 4)[0] != 3:
            answers.append(client.recv(1 << 16))
        return answers


def _last(data: bytes) -> int:
    at = 0
    while at + (step := struct.unpack_from("=I", data, at)[0] + 3 & ~3) < len(data):
        at += step
    return at


def code(answers: list[bytes]) -> int:
    return -struct.unpack_from("=i", answers[0], 16)[0]


@pytest.fixture
def kernel():
    with XfrmKernel() as made:
        yield made


def test_a_state_is_there_once_until_it_is_removed(kernel: XfrmKernel) -> None:
    assert [code(ask(kernel, kind, body)) for kind, body in ((NEWSA, STATE), (NEWSA, STATE), (DELSA, STATE_ID))] == [
        0,
        17,
        0,
    ]
    assert code(ask(kernel, DELSA, STATE_ID)) == 3
    assert code(ask(kernel, UPDSA, STATE)) == 3


def test_an_update_changes_lives_and_no_key(kernel: XfrmKernel) -> None:
    ask(kernel, NEWSA, STATE)
    longer = bytearray(STATE.replace(bytes(range(36)), bytes(36)[:-1] + b"\1"))
    struct.pack_into("=Q", longer, 96 + 40, 999)
    assert code(ask(kernel, UPDSA, bytes(longer))) == 0
    (state,) = kernel.states.values()
    assert bytes(range(36)) in state
    assert struct.unpack_from("=Q", state, 96 + 40)[0] == 999


def test_a_policy_takes_the_place_of_the_one_before(kernel: XfrmKernel) -> None:
    ask(kernel, UPDPOLICY, POLICY)
    ask(kernel, UPDPOLICY, POLICY[:152] + b"\7\0\0\0" + POLICY[156:])
    assert len(kernel.policies) == 1
    assert code(ask(kernel, DELPOLICY, POLICY_ID)) == 0
    assert code(ask(kernel, DELPOLICY, POLICY_ID)) == 2


def test_a_long_dump_comes_in_several_datagrams(kernel: XfrmKernel) -> None:
    for number in range(40):
        ask(kernel, NEWSA, STATE[:72] + struct.pack("!I", 0x2000 + number) + STATE[76:])
    answers = ask(kernel, GETSA, flags=0x301)
    assert len(answers) > 1
    assert b"".join(answers).count(b"rfc4106") == 40


def test_an_algorithm_that_is_none_is_refused(kernel: XfrmKernel) -> None:
    assert code(ask(kernel, NEWSA, STATE.replace(b"gcm", b"gcn"))) == 22
    kernel.order(XfrmFault.NO_ESP)
    answers = ask(kernel, NEWSA, STATE)
    assert code(answers) == 38
    assert b"Requested AEAD algorithm not found" in answers[0]
