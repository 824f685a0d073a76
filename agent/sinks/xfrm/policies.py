"""Security policies as the kernel takes and shows them: xfrm_userpolicy_info and its template."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from agent.sinks.xfrm.constants import ESP, Action, Attribute, Mode, PolicyDirection
from agent.sinks.xfrm.layouts import (
    CURRENT,
    LIFETIMES,
    SELECTOR,
    IpAddress,
    Selector,
    everything,
    family,
    pack_address,
    pack_lifetimes,
    pack_selector,
    read_address,
    read_selector,
)
from agent.sinks.xfrm.netlink import MalformedMessage, attribute, attributes, take

_TAIL = struct.Struct("=IIBBBB4x")
"""priority, index, dir, action, flags, share."""
_POLICY_ID = struct.Struct("=IB3x")
"""What follows the selector in xfrm_userpolicy_id: index, dir."""
_TEMPLATE = struct.Struct("=16s4sB3xH2x16sIBBBxIII")
"""xfrm_user_tmpl: daddr, spi, proto, family, saddr, reqid, mode, share, optional, aalgos, ealgos, calgos; 64 bytes."""
_ANY = 2**32 - 1
_AT_TAIL = SELECTOR.size + LIFETIMES.size + CURRENT.size
POLICY_BYTES = _AT_TAIL + _TAIL.size
"""168, the size of xfrm_userpolicy_info."""


@dataclass(frozen=True)
class Template:
    """The state that a policy asks for; `spi` 0 takes any of `reqid`."""

    source: IpAddress
    destination: IpAddress
    spi: int
    reqid: int
    mode: int


@dataclass(frozen=True)
class Policy:
    """One policy; a lower `priority` goes first.

    One that blocks carries a template too, which the kernel keeps and does not ask: its reqid says whose policy it is.
    `template` is `None` for policies of others that have none; `marked` ones hold for marked packets or one interface.
    """

    direction: PolicyDirection
    selector: Selector
    action: int
    priority: int
    template: Template | None
    marked: bool = False

    @property
    def reqid(self) -> int:
        """Of the template, 0 without one."""
        return 0 if self.template is None else self.template.reqid

    @property
    def place(self) -> tuple[PolicyDirection, Selector, bool]:
        """What the kernel holds one policy of at most."""
        return self.direction, self.selector, self.marked

    def __str__(self) -> str:
        return f"{self.direction.name.lower()} policy for {self.selector}"


def blocking(direction: PolicyDirection, selector: Selector, priority: int, reqid: int) -> Policy:
    """A policy under which packets of `selector` go nowhere."""
    nowhere = everything(selector.source.version).network_address
    return Policy(direction, selector, Action.BLOCK, priority, Template(nowhere, nowhere, 0, reqid, Mode.TRANSPORT))


def pack_policy(policy: Policy) -> bytearray:
    """Body of XFRM_MSG_UPDPOLICY."""
    body = bytearray(pack_selector(policy.selector))
    body += pack_lifetimes()
    body += bytes(CURRENT.size)
    body += _TAIL.pack(policy.priority, 0, policy.direction, policy.action, 0, 0)
    if policy.template is not None:
        body += attribute(Attribute.TMPL, _pack_template(policy.template))
    return body


def pack_policy_id(policy: Policy) -> bytearray:
    """Body of XFRM_MSG_DELPOLICY."""
    return bytearray(pack_selector(policy.selector) + _POLICY_ID.pack(0, policy.direction))


def read_policy(body: memoryview) -> Policy | None:
    """A policy of a dump, `None` for one of a socket; raises `MalformedMessage`."""
    priority, _, direction, action, *_ = take(_TAIL, body, _AT_TAIL)
    selector = read_selector(body)
    if direction > PolicyDirection.FWD or selector is None:
        return None
    found = attributes(body[POLICY_BYTES:])
    return Policy(
        direction=PolicyDirection(direction),
        selector=selector,
        action=action,
        priority=priority,
        template=_read_template(found.get(Attribute.TMPL)),
        marked=Attribute.MARK in found or Attribute.IF_ID in found,
    )


def _pack_template(template: Template) -> bytes:
    return _TEMPLATE.pack(
        pack_address(template.destination),
        template.spi.to_bytes(4, "big"),
        ESP,
        family(template.destination.version),
        pack_address(template.source),
        template.reqid,
        template.mode,
        0,
        0,
        _ANY,
        _ANY,
        _ANY,
    )


def _read_template(data: memoryview | None) -> Template | None:
    """The first template."""
    if data is None:
        return None
    if len(data) < _TEMPLATE.size:
        raise MalformedMessage("a template ends too early")
    destination, spi, _, of_family, source, reqid, mode, *_ = _TEMPLATE.unpack_from(data)
    return Template(
        read_address(source, of_family),
        read_address(destination, of_family),
        int.from_bytes(spi, "big"),
        reqid,
        mode,
    )
