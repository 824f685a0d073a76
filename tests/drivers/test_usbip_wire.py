"""Bytes that a USB/IP server may send: whatever they are, they parse or raise `USBError`."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usb.core import USBError

from drivers import usbip_wire as wire
from simulators.devices.nb1010_model import Nb1010Model
from simulators.devices.uru4000_model import Uru4000Model

anything = st.binary(max_size=400)


@given(anything)
def test_no_bytes_make_another_exception(raw: bytes) -> None:
    for parse in (
        lambda: wire.check_operation(raw, wire.REP_IMPORT),
        lambda: wire.device_count(raw),
        lambda: wire.device_entry(raw),
        lambda: wire.reply_head(raw, {1: 4}),
        lambda: wire.device_fields(raw),
        lambda: wire.total_length(raw),
        lambda: wire.settings(raw),
        lambda: wire.interface_fields(raw),
        lambda: wire.endpoint_fields(raw),
    ):
        try:
            parse()
        except USBError:
            continue


@given(st.binary(min_size=wire.REPLY_BYTES, max_size=wire.REPLY_BYTES), st.dictionaries(st.integers(0, 9), st.just(64)))
def test_no_reply_claims_more_than_was_asked_for(raw: bytes, rooms: dict[int, int]) -> None:
    try:
        reply = wire.reply_head(raw, rooms)
    except USBError:
        return
    assert reply.size <= rooms.get(reply.sequence, 0)


@given(st.lists(st.tuples(st.sampled_from([4, 5, 0x21]), st.binary(min_size=7, max_size=12))))
def test_every_wellformed_chain_of_descriptors_is_read_whole(chain: list[tuple[int, bytes]]) -> None:
    chain = [(4, bytes(7)), *chain]
    raw = b"".join(bytes([2 + len(body), kind]) + body for kind, body in chain)
    settings = wire.settings(raw)
    assert sum(len(alternates) for alternates in settings) == sum(kind == 4 for kind, _body in chain)


@pytest.mark.parametrize("model", [Uru4000Model(), Nb1010Model()])
def test_a_configuration_that_another_hand_wrote(model: Uru4000Model | Nb1010Model) -> None:
    raw = model.layout.configuration_descriptor()
    assert wire.total_length(raw[:9]) == len(raw)
    ((setting,),) = wire.settings(raw)
    fields = wire.interface_fields(setting.interface)
    triple = (fields.bInterfaceClass, fields.bInterfaceSubClass, fields.bInterfaceProtocol)
    assert triple == model.layout.interface_class
    addresses = [wire.endpoint_fields(point).bEndpointAddress for point in setting.endpoints]
    assert addresses == [point.address for point in model.layout.endpoints]


@pytest.mark.parametrize(("status", "code"), [(1, errno.EBUSY), (2, errno.EBUSY), (4, errno.ENODEV), (77, errno.EIO)])
def test_a_refused_import_says_why(status: int, code: int) -> None:
    with pytest.raises(USBError) as caught:
        wire.check_operation(struct.pack("!HHI", 0x0111, wire.REP_IMPORT, status), wire.REP_IMPORT)
    assert caught.value.errno == code
