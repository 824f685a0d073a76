"""`keyvigil agent run`: the daemon."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path

import click

from agent import __version__
from agent.allocator import return_freed_memory
from agent.answering import Answerer
from agent.commands._common import config_option, configured
from agent.daemon import Daemon
from agent.deliveries import DeliveryDesk
from agent.log import event
from agent.logbook import LogBook
from agent.modalities import load_pipelines
from agent.node import Node
from agent.outbox import Outbox
from agent.presence import check_presence_driver
from agent.prompting import build_prompter
from agent.signals import build_watcher
from agent.sinks import load_sinks
from agent.standing import StandingBook
from agent.timings import TimingLog


@click.group()
def agent() -> None:
    """The node's daemon."""


@agent.command()
@config_option
def run(config_path: Path) -> None:
    """Answer the authority until SIGTERM or SIGINT."""
    return_freed_memory()
    node = Node.of(configured(config_path))
    with node.state.daemon_lock():
        daemon = build_daemon(node)
        event(logging.INFO, "the agent starts", version=__version__, node=node.config.node.name)
        try:
            asyncio.run(daemon.run())
        finally:
            daemon.answerer.link.close()


def build_daemon(node: Node) -> Daemon:
    """The daemon of a node that has joined; raises `NotJoined`, `ConfigError`, `StateError`, and `DeviceError`."""
    config, link = node.config, node.link()
    node.devices.check_drivers()
    check_presence_driver(config)
    prompter = build_prompter(config.prompt, node.abort)
    if not prompter:
        event(logging.WARNING, "nobody can be prompted: there is no terminal, and prompt.hook is not configured")
    answerer = Answerer(
        config=config,
        link=link,
        devices=node.devices,
        modalities=node.modalities,
        pipelines=load_pipelines(node.modalities),
        vault=node.vault,
        gate=node.gate,
        state=node.state,
        prompter=prompter,
        outbox=Outbox(node.state, config.connection, time.time, node.clock),
        book=StandingBook(node.state, time.time),
        timings=TimingLog(node.state.timings if config.debug.timings else None),
        now=time.time,
        clock=node.clock,
        random=os.urandom,
        measurer=node.measurer(),
    )
    sinks = load_sinks([(section.kind, section.options) for section in config.sinks])
    desk = DeliveryDesk(link.identity, node.state, node.gate, sinks, time.time)
    watcher = build_watcher(config.signals, link.identity.node_id, time.time, node.abort)
    logbook = LogBook(node.state, lambda: link.identity.log_trust, time.time)
    return Daemon(answerer, desk, logbook, time.time, node.abort, watcher)
