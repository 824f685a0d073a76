"""Messages of the xfrm sink, byte for byte, and what is made of those that are no such thing."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.sinks.xfrm import client as xfrm
from agent.sinks.xfrm.constants import Action, Mode, PolicyDirection
from agent.sinks.xfrm.layouts import Selector
from agent.sinks.xfrm.netlink import HEADER, MalformedMessage, Message, attributes, frame, messages, verdict
from agent.sinks.xfrm.policies import POLICY_BYTES, Policy, Template, blocking, pack_policy, pack_policy_id, read_policy
from agent.sinks.xfrm.states import (
    STATE_BYTES,
    HeldState,
    StateId,
    WantedState,
    fingerprint,
    pack_state,
    pack_state_id,
    read_state,
)

KEY = bytes(range(36))
STATE = WantedState(
    id=StateId(ip_address("10.1.2.2"), 0x00001002),
    source=ip_address("10.1.1.2"),
    mode=Mode.TUNNEL,
    selector=Selector(ip_network("10.9.0.1/32"), ip_network("10.9.0.2/32")),
    reqid=0x4B123456,
    window=128,
    expires_at=0.0,
    key=KEY,
)
POLICY = Policy(
    PolicyDirection.OUT,
    STATE.selector,
    Action.ALLOW,
    1000,
    Template(STATE.source, STATE.id.destination, STATE.id.spi, STATE.reqid, Mode.TUNNEL),
)
SELECTOR_HEX = "0a090002" + "00" * 12 + "0a090001" + "00" * 12 + "0000" * 4 + "0200" + "20" + "20" + "00" * 12
UNLIMITED_HEX = "ff" * 32


def lives(hard: int) -> str:
    return UNLIMITED_HEX + struct.pack("<4Q", 0, hard, 0, 0).hex()


GOLDEN_STATE = (
    SELECTOR_HEX
    + ("0a010202" + "00" * 12 + "00001002" + "32" + "000000")
    + ("0a010102" + "00" * 12)
    + lives(600)
    + "00" * 32
    + "00" * 12
    + ("00000000" + "5634124b" + "0200" + "01" + "00" + "80" + "00" * 7)
    + ("7000" + "1200" + b"rfc4106(gcm(aes))".hex() + "00" * 47 + "20010000" + "80000000" + KEY.hex())
    + ("2c00" + "1700" + "04000000" + "00000000" * 4 + "80000000" + "00" * 16)
)
"""By linux/xfrm.h: xfrm_usersa_info, then XFRMA_ALG_AEAD, then XFRMA_REPLAY_ESN_VAL."""

GOLDEN_POLICY = (
    SELECTOR_HEX
    + lives(0)
    + "00" * 32
    + ("e8030000" + "00000000" + "01" + "00" + "00" + "00" + "00000000")
    + ("4400" + "0500" + "0a010202" + "00" * 12 + "00001002" + "32" + "000000" + "0200" + "0000")
    + ("0a010102" + "00" * 12 + "5634124b" + "01" + "00" + "00" + "00" + "ff" * 12)
)
"""xfrm_userpolicy_info, then XFRMA_TMPL."""


def test_a_state_is_what_the_kernel_s_header_says() -> None:
    assert pack_state(STATE, 600).hex() == GOLDEN_STATE
    assert STATE_BYTES == 224


def test_a_policy_is_what_the_kernel_s_header_says() -> None:
    assert pack_policy(POLICY).hex() == GOLDEN_POLICY
    assert POLICY_BYTES == 168


def test_names_of_states_and_policies() -> None:
    assert pack_state_id(STATE.id).hex() == "0a010202" + "00" * 12 + "00001002" + "0200" + "32" + "00"
    assert pack_policy_id(POLICY).hex() == SELECTOR_HEX + "00000000" + "01" + "000000"


def test_a_state_is_read_without_its_key() -> None:
    held = read_state(memoryview(bytes.fromhex(GOLDEN_STATE)))
    assert held == HeldState(
        id=STATE.id,
        source=STATE.source,
        protocol=50,
        mode=1,
        selector=STATE.selector,
        reqid=STATE.reqid,
        added_at=0,
        hard_seconds=600,
        marked=False,
        extended=True,
        fingerprint=fingerprint(KEY),
        sent=0,
        received=0,
    )
    assert KEY.hex() not in repr(held)
    assert "key" not in repr(STATE)


def test_sequence_numbers_have_64_bits() -> None:
    body = bytearray.fromhex(GOLDEN_STATE)
    struct.pack_into("<4I", body, len(body) - 36, 7, 8, 1, 2)
    held = read_state(memoryview(body))
    assert (held.sent, held.received) == (2**32 + 7, 2 * 2**32 + 8)


def test_policies_are_read_as_they_were_written() -> None:
    shut = blocking(PolicyDirection.IN, Selector(ip_network("fd09::/48"), ip_network("::/0")), 7, STATE.reqid)
    for policy in (POLICY, shut):
        assert read_policy(memoryview(pack_policy(policy))) == policy


def test_a_policy_of_a_socket_is_nobody_s() -> None:
    body = bytearray.fromhex(GOLDEN_POLICY)
    body[160] = 3
    assert read_policy(memoryview(body)) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body[:200],
        lambda body: body[: STATE_BYTES + 20],
        lambda body: body[:STATE_BYTES] + b"\x02\x00\x12\x00" + body[STATE_BYTES + 4 :],
        lambda body: body[:STATE_BYTES] + b"\xff\xff\x12\x00" + body[STATE_BYTES + 4 :],
        lambda body: body[:212] + b"\x09\x00" + body[214:],
        lambda body: body[:42] + b"\x40" + body[43:],
        lambda body: body[: STATE_BYTES + 4 + 64] + b"\x00\x01\x00\x00" + body[STATE_BYTES + 4 + 68 :],
    ],
)
def test_a_state_that_is_none_is_refused(spoil: object) -> None:
    with pytest.raises(MalformedMessage):
        read_state(memoryview(spoil(bytes.fromhex(GOLDEN_STATE))))


def test_datagrams_hold_several_messages() -> None:
    data = frame(1, 2, 3, b"abcde") + frame(4, 5, 6, b"")
    assert [(one.type, one.flags, one.sequence, bytes(one.body)) for one in messages(memoryview(data))] == [
        (1, 2, 3, b"abcde"),
        (4, 5, 6, b""),
    ]


@pytest.mark.parametrize("data", [b"\x00" * 15, b"\x00" * 16, HEADER.pack(17, 0, 0, 0, 0)])
def test_datagrams_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        list(messages(memoryview(data)))


def test_an_error_says_what_the_kernel_says() -> None:
    text = b"Requested AEAD algorithm not found\0"
    tail = struct.pack("=HH", 4 + len(text), 1) + text
    head = struct.pack("=i", -errno.ENOSYS) + HEADER.pack(400, 0x10, 5, 9, 0)
    capped = Message(2, 0x300, 9, memoryview(head + tail))
    assert verdict(capped) == (errno.ENOSYS, "Requested AEAD algorithm not found")
    whole = Message(2, 0x200, 9, memoryview(head + bytes(384) + tail))
    assert verdict(whole) == (errno.ENOSYS, "Requested AEAD algorithm not found")
    assert verdict(Message(2, 0x100, 9, memoryview(head))) == (errno.ENOSYS, "")


def test_attributes_lose_their_flags() -> None:
    assert bytes(attributes(memoryview(b"\x06\x00\x05\x80ab\x00\x00"))[5]) == b"ab"


def test_requests_are_overwritten_once_they_were_sent() -> None:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernel:
        kernel.send(frame(2, 0x100, 1, struct.pack("=i", 0) + HEADER.pack(16, 0, 0, 1, 0)))
        request = xfrm.add_state(STATE, 600)
        assert KEY in request.body
        xfrm.XfrmClient(ours).apply([request])
        assert not any(request.body)


@pytest.fixture
def namespace() -> str:
    """A network namespace of the real kernel, where it may be made and has IPsec policies."""
    name = "keyvigil-test-xfrm"
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    listed = subprocess.run(["ip", "-n", name, "xfrm", "policy"], check=False, capture_output=True)
    if made.returncode or listed.returncode:
        pytest.skip("network namespaces with IPsec policies cannot be made here")
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_the_real_kernel_takes_policies_and_ip_shows_them(namespace: str, tmp_path: Path) -> None:
    script = (
        "import sys; from agent.sinks.xfrm.client import *; from tests.agent.xfrm.test_wire import POLICY\n"
        "client = XfrmClient(open_xfrm()); client.apply([put_policy(POLICY), put_policy(POLICY)])\n"
        "assert client.dump().policies == [POLICY]\n"
        "if len(sys.argv) > 1: client.apply([remove_policy(POLICY), remove_policy(POLICY)])\n"
    )
    run = ["ip", "netns", "exec", namespace, __import__("sys").executable, "-c", script]
    subprocess.run(run, check=True)
    shown = subprocess.run(["ip", "-n", namespace, "xfrm", "policy"], check=True, capture_output=True, text=True).stdout
    assert "src 10.9.0.1/32 dst 10.9.0.2/32" in shown
    assert "dir out priority 1000" in shown
    assert "proto esp spi 0x00001002 reqid 1259484246 mode tunnel" in shown
    subprocess.run([*run, "remove"], check=True)
    assert not subprocess.run(["ip", "-n", namespace, "xfrm", "policy"], check=True, capture_output=True).stdout
