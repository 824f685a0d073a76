"""HTML by functions: what is not made by `h` is text, and text is escaped. There is no way around it."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import quote, urlencode

_EMPTY = frozenset({"br", "hr", "img", "input", "link", "meta"})
"""Elements without an end (HTML, 13.1.2). Those of SVG are not among them: one that is not ended swallows the next."""
_ADDRESSES = frozenset({"href", "src", "action"})
_INLINE = ("on", "style")
REPLACED = "\N{REPLACEMENT CHARACTER}"


class Markup(str):
    """Finished HTML, as only `h` and `joined` make it; joining it with other text gives text again."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"
Attribute: TypeAlias = "str | int | float | bool | None"


def h(tag: str, *children: Child, **attributes: Attribute) -> Markup:
    """An element. `class_` stands for class and `aria_label` for aria-label; true gives a bare attribute.

    Raises `ValueError` for an address that leaves this server, for a script and for a style in an attribute: the
    console's security policy takes none of them.
    """
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    start = f"<{tag}{''.join(_attribute(*each) for each in named.items())}>"
    return Markup(start if tag in _EMPTY else f"{start}{joined(*children)}</{tag}>")


def joined(*children: Child) -> Markup:
    """Children without an element around them."""
    return Markup("".join(_rendered(each) for each in children))


def path(*parts: str | int, **query: str | int | None) -> str:
    """An address of the console: every part and value is one, whatever it holds."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    address = "/".join(("/console", *(quote(str(part), safe="") for part in parts)))
    return f"{address}?{urlencode(given)}" if given else address


def legible(text: str) -> str:
    """`text` with a visible sign for what is not: control characters, and those that turn the direction of writing."""
    return "".join(char if char.isprintable() or char in "\n\t" else REPLACED for char in text)


def _rendered(child: Child) -> str:
    if isinstance(child, Markup):
        return child
    if child is None:
        return ""
    if isinstance(child, str | int):
        return html.escape(legible(str(child)))
    return joined(*child)


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    if name.startswith(_INLINE):
        raise ValueError(f"{name} in an attribute, which the console's security policy does not take")
    if value is True:
        return f" {name}"
    text = legible(str(value))
    if name in _ADDRESSES and (not text.startswith(("/", "#")) or text.startswith(("//", "/\\"))):
        raise ValueError(f"{name} leads out of the console")
    return f' {name}="{html.escape(text)}"'
