"""The web console: pages of the operator plane for people, made on the server.

A page is HTML by typed functions (`markup`), a session is a token's (`sessions`), and every page and form declares the
scope that it needs (`desk`). Scripts only add comfort: without them everything works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from authority.console.alert_pages import alert_routes
from authority.console.approval_page import approval_routes
from authority.console.audit_pages import audit_routes
from authority.console.desk import Desk
from authority.console.fleet_page import fleet_routes
from authority.console.network_pages import network_routes
from authority.console.node_page import node_routes
from authority.console.policy_page import policy_routes
from authority.console.sign_in import sign_in_routes, sign_out_routes

if TYPE_CHECKING:
    from authority.planes.operator_context import OperatorContext

__all__ = ["console_routes"]


def console_routes(app: FastAPI, context: OperatorContext) -> None:
    """Add every page below /console, and the way there from /."""
    desk = Desk(app, context)
    sign_in_routes(app, context)
    sign_out_routes(desk)
    for add in (fleet_routes, node_routes, alert_routes, approval_routes, network_routes, policy_routes, audit_routes):
        add(desk)
