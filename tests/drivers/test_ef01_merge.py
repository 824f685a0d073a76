"""What the driver makes of bytes: packets out of garbage, an image out of damaged transfers."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.ef01 import Packet, PacketKind, SystemParameters, find_packets, merge_transfers
from drivers.ef01._merge import Merge
from drivers.ef01._transfer import ImageLayout
from hal import ProtocolError
from simulators.devices.serial_wire import LineNoise
from tests.drivers.ef01_wire import ACKNOWLEDGEMENT, SIZES, image, packet, packets, transfer

ADDRESS = 0xFFFFFFFF


def changed(data: bytes, at: int, by: int = 1) -> bytes:
    return data[:at] + bytes([(data[at] + by) % 256]) + data[at + 1 :]


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_packets_are_found_between_garbage_and_half_headers() -> None:
    wire = b"\xef\x01\xef" + packet(7, b"\0") + b"\xef\x01\xff\xff\xff\xff" + packet(7, b"\x02") + b"\xef"
    assert find_packets(wire, ADDRESS) == [Packet(PacketKind.ACK, b"\0"), Packet(PacketKind.ACK, b"\x02")]


def test_a_header_with_a_spoiled_length_does_not_hide_the_packet_behind_it() -> None:
    spoiled = changed(packet(7, b"\0"), 8, by=40)
    assert find_packets(spoiled + packet(7, b"\x02") + bytes(60), ADDRESS) == [Packet(PacketKind.ACK, b"\x02")]


@pytest.mark.parametrize("at", range(12))
def test_no_spoiled_byte_of_an_acknowledgement_passes(at: int) -> None:
    assert find_packets(changed(packet(7, b"\0"), at), ADDRESS) == []


def test_packets_of_another_address_are_not_ours() -> None:
    assert find_packets(packet(7, b"\0", address=0x01020304), ADDRESS) == []


@given(st.binary(max_size=600), st.sampled_from(SIZES))
@settings(max_examples=100, deadline=None)
def test_no_bytes_raise_anything_but_a_protocol_error(data: bytes, size: int) -> None:
    find_packets(data, ADDRESS)
    with pytest.raises(ProtocolError):
        merge_transfers([data, ACKNOWLEDGEMENT + data], size)
    if len(data) != 16:
        with pytest.raises(ProtocolError):
            SystemParameters.parse(data)


@given(st.lists(st.integers(0, 2 * 144), min_size=1, max_size=400), st.integers(0, 300), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_right_packets_in_any_order_and_number_raise_nothing_else(order: list[int], cut: int, times: int) -> None:
    parts = packets(image(), 256)
    stream = ACKNOWLEDGEMENT + b"".join(parts[number % len(parts)] for number in order)
    streams = [stream * times, stream[: len(stream) - cut] + parts[-1], ACKNOWLEDGEMENT + b"".join(parts * 2)]
    for some in (streams[:1], streams):
        with suppress(ProtocolError):
            assert len(merge_transfers(some, 256)) == 36_864


@pytest.mark.parametrize(("code", "rate"), [(4, 6), (0xFFFF, 6), (2, 0), (2, 13)])
def test_parameters_outside_the_family_are_refused(code: int, rate: int) -> None:
    with pytest.raises(ProtocolError, match="packet size code"):
        SystemParameters.parse(bytes(12) + code.to_bytes(2, "big") + rate.to_bytes(2, "big"))


def test_one_flawless_transfer_is_enough(size: int) -> None:
    assert merge_transfers([transfer(image(), size)], size) == image()


def test_one_transfer_with_a_flaw_is_not(size: int) -> None:
    merge = Merge(ImageLayout(size))
    merge.add(changed(transfer(image(), size), 5000))
    assert merge.missing == ImageLayout(size).packets
    merge.add(changed(transfer(image(), size), 9000))
    assert merge.missing == 0
    assert merge.image() == image()


def test_two_spoiled_bytes_that_cancel_are_not_believed(size: int) -> None:
    """The sum alone lets them pass: the negative control."""
    data = bytes([100]) * 36_864
    clean, first = transfer(data, size), len(ACKNOWLEDGEMENT) + 9
    cancelling = changed(changed(clean, first), first + 1, by=-1)
    assert len(find_packets(cancelling, ADDRESS)) == len(find_packets(clean, ADDRESS))
    merge = Merge(ImageLayout(size))
    merge.add(changed(cancelling, 9000))
    merge.add(changed(clean, 12_000))
    assert merge.missing == 1, "two right packets that differ"
    merge.add(changed(clean, 15_000))
    assert merge.image() == data


def test_a_choice_between_spoiled_bytes_is_not_left_to_the_sum(size: int) -> None:
    """Both transfers hit one byte, one of them another too: a mixture of them has the right sum and is wrong."""
    data = bytes([100]) * 36_864
    clean, first = transfer(data, size), len(ACKNOWLEDGEMENT) + 9
    merge = Merge(ImageLayout(size))
    merge.add(changed(changed(clean, first, by=98), first + 6, by=5))
    merge.add(changed(clean, first, by=-5))
    assert merge.missing == 1
    merge.add(changed(clean, 15_000))
    merge.add(changed(clean, 17_000))
    assert merge.image() == data


def test_a_packet_spoiled_in_every_transfer_is_put_together_from_them(size: int) -> None:
    at = len(ACKNOWLEDGEMENT) + 9
    merge = Merge(ImageLayout(size))
    for place in (3, 9, 20):
        merge.add(changed(transfer(image(), size), at + place, by=7))
    assert merge.missing == 0
    assert merge.image() == image()


def test_a_spoiled_header_costs_nothing(size: int) -> None:
    clean = transfer(image(), size)
    frame = size + 11
    spoiled = clean
    for offset in (0, 1, 6, 7, 8):
        spoiled = changed(spoiled, len(ACKNOWLEDGEMENT) + 3 * frame + offset, by=99)
    assert merge_transfers([spoiled, spoiled], size) == image()


@pytest.mark.parametrize("lost", [1, 5])
def test_lost_bytes_cost_one_packet_and_no_more(size: int, lost: int) -> None:
    clean = transfer(image(), size)
    merge = Merge(ImageLayout(size))
    for at in (4000, 30_000):
        merge.add(clean[:at] + clean[at + lost :])
    assert merge.missing == (0 if lost == 1 else 2)
    assert merge.image() == image()


def test_an_added_byte_costs_nothing_when_another_transfer_has_the_packet(size: int) -> None:
    clean = transfer(image(), size)
    assert merge_transfers([clean[:4000] + b"\x55" + clean[4000:], changed(clean, 20_000)], size) == image()


@pytest.mark.parametrize("packet_number", [0, 7, 20])
def test_packets_lost_whole_leave_no_packet_at_another_place(size: int, packet_number: int) -> None:
    """The count is short by one and no gap tells where, so nothing of the transfer is believed."""
    parts = packets(image(), size)
    short = ACKNOWLEDGEMENT + b"".join(parts[:packet_number] + parts[packet_number + 1 :])
    merge = Merge(ImageLayout(size))
    merge.add(short)
    merge.add(short)
    assert merge.missing == ImageLayout(size).packets
    merge.add(changed(transfer(image(), size), 9000))
    merge.add(changed(transfer(image(), size), 19_000))
    assert merge.image() == image()


def test_what_came_before_and_after_a_torn_stretch_counts(size: int) -> None:
    clean = transfer(image(), size)
    hole = (10_003, 10_003 + 2 * (size + 11) + size // 2)
    torn = clean[: hole[0]] + clean[hole[1] :]
    merge = Merge(ImageLayout(size))
    merge.add(torn)
    merge.add(changed(clean, 30))
    assert 0 < merge.missing <= 5
    assert merge.image() == image()


def test_a_transfer_that_was_cut_counts_up_to_there(size: int) -> None:
    clean = transfer(image(), size)
    half = len(clean) // 2
    merge = Merge(ImageLayout(size))
    merge.add(clean[:half])
    merge.add(changed(clean, 30))
    assert abs(merge.missing - ImageLayout(size).packets / 2) <= 2


def test_transfers_of_two_images_do_not_make_a_third(size: int) -> None:
    with pytest.raises(ProtocolError, match="never came undamaged"):
        merge_transfers([changed(transfer(image(seed), size), 9000) for seed in (1, 2)], size)


def test_a_picture_that_looks_like_headers_comes_through(size: int) -> None:
    header = b"\xef\x01\xff\xff\xff\xff\x02" + (size + 2).to_bytes(2, "big")
    data = (header * 4096 + bytes(36_864))[:36_864]
    streams = [changed(transfer(data, size), at) for at in (5000, 9000)]
    assert merge_transfers(streams, size) == data


@pytest.mark.parametrize(("rates", "most"), [((0.001, 0, 0), 5), ((0, 0.001, 0), 8), ((0.0005, 0.0003, 0.0003), 8)])
def test_a_noisy_line_is_overcome(size: int, rates: tuple[float, float, float], most: int) -> None:
    noise = LineNoise(*rates, seed=5)
    data = image(3)
    merge = Merge(ImageLayout(size))
    for _ in range(most):
        merge.add(noise.spoil(transfer(data, size)))
        if not merge.missing:
            break
    assert merge.image() == data


def test_a_hopeless_line_is_said_to_be_one_with_a_remedy(size: int) -> None:
    noise = LineNoise(0.3, seed=5)
    with pytest.raises(ProtocolError, match="never came undamaged") as raised:
        merge_transfers([noise.spoil(transfer(image(), size)) for _ in range(8)], size)
    assert "cable" in raised.value.remedy


def test_merging_keeps_to_bytes_that_were_sent() -> None:
    data = bytes(36_864)
    assert np.frombuffer(merge_transfers([transfer(data, 128)], 128), np.uint8).sum() == 0
