from __future__ import annotations

import io

from rich.console import Console

from agent.devices import DeviceReport
from agent.diagnostics import Finding, Severity
from agent.diagnostics.attached import Unclaimed
from agent.diagnostics.inventory import Inventory, show
from agent.diagnostics.needs import Missing, missing
from agent.diagnostics.rendering import ScreenProgress, report
from agent.diagnostics.running import Check
from tests.agent.diagnostics.test_host import config
from tests.agent.diagnostics.trees import Tree


def drawn(what: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    text: str = console.file.getvalue()
    return text


def test_a_report_shows_every_finding_with_remedy_and_conclusion() -> None:
    findings = [
        Finding("a.b", Severity.OK, "fine", subject="reader"),
        Finding("c.d", Severity.WARNING, "not so fine", "mend it", "reader"),
        Finding("e.f", Severity.ERROR, "broken", "replace it", "camera"),
    ]
    shown = drawn(report(findings))
    for text in ("reader", "camera", "not so fine", "→ mend it", "[e.f]", "→ replace it", "1 error, 1 warning."):
        assert text in shown
    assert "There are errors." in shown
    assert "All is well." in drawn(report(findings[:1]))


def test_what_a_device_says_is_neither_markup_nor_control() -> None:
    shown = drawn(report([Finding("a.b", Severity.ERROR, "[red]x[/] \x1b[2J", "[/y]", "[bold]z")]))
    assert "[red]x[/]" in shown
    assert "[/y]" in shown
    assert "\x1b" not in shown


def test_a_narrow_terminal_is_survived() -> None:
    assert "→" in drawn(report([Finding("a.b", Severity.ERROR, "word " * 30, "remedy", "subject")]), width=20)


def test_elsewhere_than_on_a_terminal_only_requests_are_shown() -> None:
    console = Console(file=io.StringIO(), width=80)
    check = Check("reader", "lane", 1.0, lambda _deadline, _note: ())
    with ScreenProgress(console) as progress:
        progress.started(check)
        progress.noted(check, "Place a finger.")
        progress.finished(check, [])
    assert console.file.getvalue() == "reader: Place a finger.\n"


def test_on_a_terminal_the_running_checks_are_shown() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    check = Check("reader (uru4000)", "lane", 1.0, lambda _deadline, _note: ())
    with ScreenProgress(console) as progress:
        progress.started(check)
        progress.noted(check, "Place a finger.")
    assert "reader (uru4000)" in console.file.getvalue()


def test_an_inventory_tells_what_is_missing_and_how_to_mend_it(tmp_path: object) -> None:
    reports = [DeviceReport("uru4000", "a" * 64, (), "no libusb", "install it")]
    spare = Unclaimed("serial", "/dev/ttyS0", "", "a serial port", "use it", trouble=False)
    trouble = Unclaimed("usb", "1-2", "Reader", "a reader without permission", "add rules")
    console = Console(file=io.StringIO(), width=100)
    show(Inventory.of(None, reports, [spare, trouble], [Missing("libx", "readers", "apt-get install libx")]), console)
    shown = console.file.getvalue()
    for text in ("no libusb", "install it", "/dev/ttyS0", "→ use it", "→ apt-get install libx", "→ add rules", "1-2"):
        assert text in shown


def test_configured_devices_that_are_wrong_are_findings() -> None:
    from pathlib import Path

    wanted = config(Path("/var/lib/keyvigil"))

    def found(*reports: DeviceReport) -> list[str]:
        return [finding.id for finding in Inventory.of(wanted, reports, [], []).findings]

    assert found() == ["device.driver"]
    assert found(DeviceReport("tpm2", "1" * 64, ())) == ["device.pin"]
    assert found(DeviceReport("tpm2", "0" * 64, (), "no library", "install")) == ["device.driver"]
    assert found(DeviceReport("tpm2", "0" * 64, ())) == ["device.attached"]
    assert found(DeviceReport("tpm2", "0" * 64, (), unmade=True)) == ["enclave.made"]


def test_missing_packages_name_the_line_that_installs_them(tmp_path: object) -> None:
    from pathlib import Path

    machine = Tree(Path("/nonexistent")).machine
    lacking = {lack.name: lack.remedy for lack in missing(machine, lambda _: None)}
    assert lacking["libusb-1.0"] == "sudo apt-get install libusb-1.0-0"
    assert lacking["libportaudio"] == "sudo apt-get install libportaudio2"
    assert lacking["fprintd"] == "sudo apt-get install fprintd"
    assert [lack.name for lack in missing(machine, lambda name: f"lib{name}.so")] == ["fprintd"]
