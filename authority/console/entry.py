"""The form that asks for a token: whoever has no session gets it in place of any page."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from starlette.responses import Response

from authority.console import frame, sessions, words
from authority.console.markup import Markup, h, path
from authority.refusal import Refused

COOKIE = "__Host-keyvigil-entry"
"""Before there is a session, this cookie ties the form to the browser that asked for it."""
MOST = 500
"""Characters of an address that signing in leads on to."""
FIELD = "form_token"
"""The field of every form that says whose it is."""


def page(after: str, status: int = 200, error: Refused | None = None, doors: Sequence[str] = ()) -> Response:
    """The form for a token, with what was wrong with the one before; afterwards to the address `after`.

    `doors` are the identity providers by which people sign in.
    """
    entry = secrets.token_urlsafe(32)
    response = Response(f"<!doctype html>{_form(after, entry, error, doors)}", status, media_type="text/html")
    set_cookie(response, COOKIE, entry)
    return response


def _form(after: str, entry: str, error: Refused | None, doors: Sequence[str]) -> Markup:
    said = None if error is None else _said(error)
    hint = "The text that begins with kvo1. in a token file, as `keyvigil-authority init` writes one."
    return frame.plain(
        "Sign in",
        said,
        _doors(after, entry, doors),
        h(
            "form",
            h("input", type="hidden", name=FIELD, value=sessions.form_token(entry)),
            h("input", type="hidden", name="next", value=inside(after)),
            h("label", "Operator token", for_="token"),
            h("p", words.prose(hint), id="hint", class_="faint"),
            h(
                "input",
                id="token",
                name="token",
                type="password",
                required=True,
                autocomplete="off",
                spellcheck="false",
                maxlength=200,
                aria_describedby="said hint" if said else "hint",
                aria_invalid="true" if said else None,
                autofocus=said is not None,
            ),
            h("button", "Sign in", class_="primary"),
            method="post",
            action=path("sign-in"),
            class_="stacked",
        ),
    )


def _doors(after: str, entry: str, doors: Sequence[str]) -> Markup | None:
    """Links, since a form may send nobody anywhere else (`form-action`)."""
    if not doors:
        return None
    asked = {FIELD: sessions.form_token(entry), "next": inside(after)}
    links = [h("li", h("a", f"Sign in with {name}", href=path("sign-in", name, **asked))) for name in doors]
    return h("nav", h("ul", *links, class_="doors"), aria_label="Identity providers")


def _said(error: Refused) -> Markup:
    text = f"{error.detail[:1].upper()}{error.detail[1:]}. {error.remedy}"
    return h("p", text, id="said", role="alert", class_="alarm")


def inside(address: str) -> str:
    """The address if it is one of the console's pages, else the console's first."""
    where = address.partition("?")[0]
    plain = address.isascii() and address.isprintable() and "\\" not in address and ".." not in where.split("/")
    ours = f"{where}/".startswith("/console/") and not f"{where}/".startswith(path("sign-in") + "/")
    return address if plain and ours and len(address) <= MOST else "/console"


def set_cookie(response: Response, name: str, text: str) -> None:
    """A cookie for this browser session, this host, TLS, no script, and no request from another site."""
    response.set_cookie(name, text, path="/", secure=True, httponly=True, samesite="strict")
