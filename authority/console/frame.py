"""What stands around every page: head, landmarks, navigation, and the words of a refusal."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from authority.console import assets
from authority.console.markup import Child, Markup, h, joined, path
from authority.console.words import moment

if TYPE_CHECKING:
    from authority.console.desk import Visit

_SECTIONS = (
    ("", "Fleet"),
    ("alerts", "Alerts"),
    ("approvals", "Approvals"),
    ("networks", "Networks"),
    ("policy", "Policy"),
    ("audit", "Audit log"),
)
_DONE = {
    "challenged": "Somebody is summoned to the node.",
    "isolate": "The node is isolated.",
    "release": "The node is released; it stands where its score puts it.",
    "ban": "The node is banned.",
    "retire": "The node is retired.",
    "acknowledged": "The alert is acknowledged, and the audit log has it.",
    "approved": "The profile is approved.",
    "refused": "The profile is refused.",
    "asked": "It waits for a second operator, who finds it here.",
    "ordered": "The order is carried out.",
    "closed": "The order is closed.",
    "accepted": "The reference value is accepted.",
    "rejected": "The reference value is rejected.",
    "voted": "Your vote is noted; the second one of the same mind takes effect.",
    "rotated": "The rotation has begun.",
    "versions": "The network has a new latest version.",
}
"""What a page may say of the action before it: an address names one, and cannot bring words of its own."""


def page(visit: Visit, section: str, title: str, *content: Child) -> Markup:
    """A page of somebody who is signed in; `section` is the one of the navigation that it belongs to."""
    said = _DONE.get(visit.asked("done"))
    note = None if said is None else h("p", said, class_="note", role="status", tabindex=-1, autofocus=True)
    main = h("main", h("h1", title), note, *content, id="main", tabindex=-1)
    return _document(title, _header(section), main, _footer(visit))


def plain(title: str, *content: Child, head: Child = None) -> Markup:
    """A page of nobody; `head` is what its head has besides."""
    header = h("header", h("div", _mark(), class_="bar"), class_="top")
    main = h("main", h("h1", title), *content, id="main", tabindex=-1, class_="narrow")
    return _document(title, header, main, more=head)


def refusal(status: int, said: str, remedy: str) -> Markup:
    """Why something was not done, and what to do."""
    title = HTTPStatus(status).phrase
    words = h("p", said[:1].upper(), said[1:], None if said.endswith(".") else ".")
    return plain(title, words, h("p", remedy), h("p", h("a", "To the fleet", href="/console")))


def hidden(visit: Visit) -> Markup:
    """The field without which no form is taken."""
    return h("input", type="hidden", name="form_token", value=visit.session.csrf)


def form(visit: Visit, action: str, *content: Child, label: str | None = None) -> Markup:
    """A form that changes something."""
    return h("form", hidden(visit), *content, method="post", action=action, aria_label=label)


def _document(title: str, *body: Child, more: Child = None) -> Markup:
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("title", title, " · Keyvigil"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("link", rel="icon", href=assets.address("mark.svg"), type="image/svg+xml"),
        h("link", rel="stylesheet", href=assets.address("console.css")),
        h("script", src=assets.address("console.js"), defer=True),
        more,
    )
    skip = h("a", "Skip to the content", href="#main", class_="skip")
    return h("html", head, h("body", skip, *body), lang="en")


def _mark() -> Markup:
    image = h("img", src=assets.address("mark.svg"), alt="", width=22, height=22)
    return h("a", image, h("span", "Keyvigil"), href="/console", class_="wordmark")


def _header(section: str) -> Markup:
    links = [
        h(
            "li",
            h("a", title, href=path(name) if name else "/console", aria_current="page" if name == section else None),
        )
        for name, title in _SECTIONS
    ]
    search = h(
        "form",
        h("label", "Search nodes", for_="search", class_="unseen"),
        h("input", type="search", id="search", name="q", placeholder="Search nodes", autocomplete="off", maxlength=200),
        h("button", "Search", class_="quiet"),
        method="get",
        action="/console",
        role="search",
    )
    nav = h("nav", h("ul", *links), aria_label="Sections")
    return h("header", h("div", _mark(), nav, search, class_="bar"), class_="top")


def _footer(visit: Visit) -> Markup:
    scopes = ", ".join(sorted(visit.session.operator.scopes))
    who = h("p", "Signed in as ", h("strong", visit.name), f" ({scopes}) until ", moment(visit.session.ends_at), ".")
    out = form(
        visit,
        path("sign-out"),
        h("button", "Sign out", class_="quiet"),
        h("button", "Sign out everywhere", name="everywhere", value="yes", class_="quiet"),
        label="Session",
    )
    return h("footer", joined(h("div", who, out, class_="bar")), class_="bottom")
