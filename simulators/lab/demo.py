"""The demo: a site in miniature, the story played on it, and a summary of what it showed."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax

from simulators.lab.network.fabric import leave_host_network
from simulators.lab.network.plane import FILE, DataPlane, find_data_plane
from simulators.lab.network.wires import NodeWires
from simulators.lab.policy import demo_policy
from simulators.lab.processes import LabError
from simulators.lab.station import personas_of
from simulators.lab.story import Story
from simulators.lab.view import JsonView, LiveView, View
from simulators.lab.watch import Watch
from simulators.lab.world import LOOPBACK, Settings, World

NODE_NAMES = ("node-a", "node-b", "node-c")


@dataclass(frozen=True)
class DemoOptions:
    """How the demo runs: `data` holds real samples, `serve` keeps it running, `keep` keeps its folder.

    `picture` gets the live view as SVG, as it was when one node was isolated and another worn down. Without `packets`
    keys go into files, and no packets pass, even where the machine could let them.
    """

    data: Path | None = None
    serve: bool = False
    as_json: bool = False
    keep: Path | None = None
    picture: Path | None = None
    packets: bool = True


def run_demo(options: DemoOptions) -> bool:
    """Play the story; true when everything that it had to show was shown. Raises `LabError`."""
    console = Console()
    began = time.monotonic()
    plane = find_data_plane() if options.packets else DataPlane(FILE, "no other was asked for")
    if plane.carries:
        leave_host_network()
    show_policy(options, console, plane)
    folder = make_folder(options.keep)
    try:
        people = list(personas_of(None if options.data is None else str(options.data)))[: len(NODE_NAMES)]
        with ExitStack() as stack:
            wires = stack.enter_context(NodeWires(plane)) if plane.carries else None
            settings = _settings(options)
            world = World(folder, NODE_NAMES, _policy(options, plane), options.data, settings, wires)
            return _play(stack.enter_context(world), wires, people, options, console, began)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def make_folder(keep: Path | None) -> Path:
    """The lab's folder: `keep`, which must not exist yet, or a private temporary one with a short path."""
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="kv-"))
    try:
        keep.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise LabError(f"cannot make {keep}: {error.strerror}", "Name a folder that does not exist yet.") from None
    return keep.resolve()


def show_policy(options: DemoOptions, console: Console, plane: DataPlane) -> None:
    """Print the policy that the demo runs under, and where keys go."""
    policy = _policy(options, plane)
    if options.as_json:
        print(json.dumps({"event": "policy", "toml": policy}), flush=True)  # noqa: T201
        print(json.dumps({"event": "data plane", **asdict(plane)}), flush=True)  # noqa: T201
    else:
        console.rule("[bold]Demo policy")
        console.print(Syntax(policy, "toml", background_color="default"))
        console.print(f"Data plane: [bold]{escape(plane.name)}[/] ({escape(plane.why)})")


def _play(
    world: World, wires: NodeWires | None, people: Sequence[str], options: DemoOptions, console: Console, began: float
) -> bool:
    view: View = JsonView() if options.as_json else LiveView(console)
    try:
        view.act("Starting the authority")
        world.raise_authority()
        watch = Watch(world.authority, lambda: view.changed(watch))
        watch.start()
        try:
            story = Story(world, watch, people, view.act, lambda: save_picture(view, options.picture))
            story.everyone, story.packets = options.data is not None, wires
            story.play()
            world.check()
            view.end(story.findings, _numbers(world, wires, began))
            if options.serve:
                _serve(world, console)
        finally:
            watch.close()
    finally:
        view.close()
    return all(found.met for found in story.findings)


def save_picture(view: View, file: Path | None) -> None:
    """Write the live view as SVG, with the fonts of whoever looks at it."""
    if file is None or not isinstance(view, LiveView):
        return
    canvas = Console(record=True, width=162, file=io.StringIO(), force_terminal=True)
    canvas.print(view.picture())
    svg = canvas.export_svg(title="keyvigil-lab demo")
    file.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))


def _numbers(world: World, wires: NodeWires | None, began: float) -> dict[str, Any]:
    agents = [memory for node in world.nodes if (memory := node.agent.peak_memory_mb()) is not None]
    authority = world.authority.server.peak_memory_mb()
    return {
        "seconds": round(time.monotonic() - began, 1),
        **({} if wires is None else {"packets that came": wires.total()}),
        "peak memory of an agent, MB": round(max(agents, default=0.0)),
        "peak memory of the authority, MB": round(authority or 0.0),
    }


def _serve(world: World, console: Console) -> None:
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    into = "" if world.authority.address == LOOPBACK else f"nsenter --target {os.getpid()} --net "
    console.print(f"The site keeps running; try: {into}keyvigil-authority node list --state {world.authority.state}")
    console.print("Ctrl-C ends it.")
    while not done.wait(1.0):
        world.check()


def _policy(options: DemoOptions, plane: DataPlane) -> str:
    return demo_policy(recordings=options.data is not None, wireguard=plane.carries)


def _settings(options: DemoOptions) -> Settings:
    """Recordings of people who read something else cannot speak the digits that a challenge asks for."""
    return {} if options.data is None else {"modalities.voice.options": {"spoken_digits": False}}
