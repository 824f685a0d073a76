"""What the driver owes to `hal`: claims, deadlines, errors, coming back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import Rig
from keyvigil_keystroke.driver import Ps2Keyboard, Ps2SerialDriver
from keyvigil_keystroke.keyboard import CHARACTERS, ENTER, KeyEvent
from keyvigil_keystroke_sim.keyboard import SimulatedKeyboard, Trouble
from keyvigil_keystroke_sim.typist import Typist

from hal import (
    Busy,
    Deadline,
    Device,
    DeviceError,
    Disconnected,
    NotFound,
    ProtocolError,
    Reopening,
    TimedOut,
    Transport,
    Unsupported,
)

TEXT = "still waters run deep"
SLACK = 0.4
"""A busy machine's share of a bound on time, in seconds."""


def soon() -> Deadline:
    return Deadline.after(5)


def typed(keyboard: Ps2Keyboard, rig: Rig, text: str = TEXT) -> list[KeyEvent]:
    moves = Typist("a").type(text, 1)
    events = keyboard.events(soon(), lambda: rig.model.type(moves))
    try:
        return list(islice(events, len(moves)))
    finally:
        events.close()


def test_every_key_arrives_in_order(rig: Rig) -> None:
    moves = Typist("a").type(TEXT, 1)
    with rig.open() as keyboard:
        events = typed(keyboard, rig)
    codes = {**CHARACTERS, "\n": ENTER}
    assert [(event.code, event.pressed) for event in events] == [(codes[m.character], m.pressed) for m in moves]
    assert [event.sequence for event in events] == list(range(1, len(moves) + 1))
    assert all(a.at_ns <= b.at_ns for a, b in pairwise(events))


def test_an_opened_keyboard_says_who_it_is(rig: Rig) -> None:
    with rig.open() as keyboard:
        assert isinstance(keyboard, Device)
        info = keyboard.info
    assert (info,) == tuple(rig.driver.list(rig.options))
    assert (info.kind, info.driver, info.transport) == ("keyboard", "ps2serial", Transport.VIRTUAL)
    assert info.port == str(rig.model.link)


def test_keys_are_reported_only_while_somebody_asks(rig: Rig) -> None:
    with rig.open() as keyboard:
        assert not rig.model.reporting
        rig.model.type(Typist("a").type("early", 1))
        assert next(event.code for event in typed(keyboard, rig, "a")) == CHARACTERS["a"]
        assert not rig.model.reporting


def test_nobody_types_until_the_deadline(rig: Rig) -> None:
    with rig.open() as keyboard:
        started = time.monotonic()
        with pytest.raises(TimedOut):
            next(keyboard.events(Deadline.after(0.2), lambda: None))
        assert 0.2 <= time.monotonic() - started < 0.22 + SLACK
        assert len(typed(keyboard, rig)) > 0


def test_one_claimant_in_this_process(rig: Rig) -> None:
    with rig.open():
        with pytest.raises(Busy):
            rig.open()
        assert len(rig.driver.list(rig.options)) == 1
    rig.open().close()


def test_one_claimant_among_processes(rig: Rig) -> None:
    script = (
        "import sys; from keyvigil_keystroke.driver import Ps2SerialDriver as D; "
        "D().open({'port': sys.argv[1]}); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(rig.model.link)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Busy):
            rig.open()
    rig.open().close()


def test_closing_twice_is_allowed_and_a_closed_keyboard_refuses(rig: Rig) -> None:
    keyboard = rig.open()
    keyboard.close()
    keyboard.close()
    with pytest.raises(Disconnected):
        next(keyboard.events(soon(), lambda: None))


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (Trouble.DEAF, TimedOut),
        (Trouble.OTHER_DEVICE, ProtocolError),
        (Trouble.SHORT, TimedOut),
        (Trouble.GARBLED, ProtocolError),
        (Trouble.NOISE, DeviceError),
    ],
)
def test_trouble_at_opening_ends_in_time_with_a_remedy_and_leaves_the_line_free(
    rig: Rig, trouble: Trouble, error: type[DeviceError]
) -> None:
    rig.model.inject(trouble)
    started = time.monotonic()
    with pytest.raises(error) as raised:
        rig.open(0.5)
    assert time.monotonic() - started < 0.55 + SLACK
    assert raised.value.remedy
    rig.model.mend()
    with rig.open() as keyboard:
        assert len(typed(keyboard, rig)) > 0


def test_a_slow_keyboard_is_waited_for(rig: Rig) -> None:
    rig.model.inject(Trouble.SLOW)
    rig.open().close()
    with pytest.raises(TimedOut):
        rig.open(0.4)


def pulled(rig: Rig) -> None:
    rig.model.unplug()


def restarted(rig: Rig) -> None:
    rig.model.restart()


@pytest.mark.parametrize("go", [pulled, restarted])
def test_a_keyboard_that_goes_away_while_somebody_types(rig: Rig, go: Callable[[Rig], None]) -> None:
    with rig.open() as keyboard, pytest.raises(Disconnected):
        next(keyboard.events(soon(), lambda: go(rig)))


def test_unplugged_it_is_not_found_and_plugged_in_it_works(rig: Rig) -> None:
    rig.model.unplug()
    assert rig.driver.list(rig.options) == ()
    with pytest.raises(NotFound):
        rig.open()
    rig.model.plug()
    with rig.open() as keyboard:
        assert len(typed(keyboard, rig)) > 0


def test_replugged_in_the_middle_it_is_taken_up_again(rig: Rig) -> None:
    turns: list[int] = []

    def work(keyboard: Ps2Keyboard) -> list[KeyEvent]:
        turns.append(1)
        if len(turns) == 1:
            rig.model.unplug()
            rig.model.plug()
        return typed(keyboard, rig)

    with Reopening(lambda deadline: rig.driver.open(rig.options, deadline)) as held:
        assert len(held.run(work, soon())) > 0
    assert len(turns) == 2


def test_lost_keys_are_told(rig: Rig) -> None:
    with rig.open() as keyboard:
        with pytest.raises(ProtocolError, match="lost keys"):
            next(keyboard.events(soon(), lambda: rig.model.press_raw(b"\x00")))
        assert len(typed(keyboard, rig)) > 0


@pytest.mark.parametrize(
    "options",
    [
        {"port": 3},
        {"port": ""},
        {},
        {"port": "x", "speed": 9600},
        {"port": "x", "baud": 5},
        {"port": "x", "baud": True},
    ],
)
def test_a_wrong_option_is_named_with_a_remedy(options: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as refusal:
        Ps2SerialDriver().open(options)
    assert "port" in str(refusal.value) or "speed" in str(refusal.value) or "baud" in str(refusal.value)
    assert refusal.value.remedy


def test_what_is_no_serial_line_is_unsupported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for port in (tmp_path / "file", Path("/dev/null")):
        with pytest.raises(Unsupported, match="no serial line"):
            Ps2SerialDriver().open({"port": str(port)})


def test_without_a_port_there_is_nothing_to_list() -> None:
    assert Ps2SerialDriver().list({}) == ()


def test_nothing_leaks_over_many_openings(tmp_path: Path) -> None:
    with SimulatedKeyboard(tmp_path / "keyboard", instant=True) as model:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for turn in range(200):
            model.inject(Trouble.OTHER_DEVICE if turn % 2 else Trouble.NONE)
            try:
                Ps2SerialDriver().open({"port": str(model.link)}).close()
            except ProtocolError:
                assert turn % 2
        assert len(list(Path("/proc/self/fd").iterdir())) == before
