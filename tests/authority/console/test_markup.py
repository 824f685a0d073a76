"""What is not made by `h` is text."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authority.console.markup import Markup, h, joined, path


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(markup: str) -> Seen:
    parser = Seen()
    parser.feed(markup)
    parser.close()
    return parser


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"])))
def test_whatever_text_says_it_stays_text(text: str) -> None:
    found = seen(h("p", text, title=text))
    assert found.tags == [("p", {"title": text})] and found.text == text


def test_only_what_h_made_is_markup() -> None:
    bold = h("b", "x")
    assert h("p", bold) == "<p><b>x</b></p>"
    assert h("p", f"{bold}") == h("p", "<b>x</b>") == "<p>&lt;b&gt;x&lt;/b&gt;</p>"
    assert not isinstance(bold + "<i>", Markup) and not isinstance(f"{bold}", Markup)


def test_controls_and_turned_writing_become_visible() -> None:
    assert h("p", "a\x00b\u202ec\u200bd\u2066") == "<p>a\ufffdb\ufffdc\ufffdd\ufffd</p>"


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "https://evil.example", "//evil.example", "/\\evil", "data:,x", ""]
)
@pytest.mark.parametrize("name", ["href", "src", "action"])
def test_no_address_leads_out(name: str, address: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        h("a", "x", **{name: address})
    assert h("a", "x", href="/console#y") == '<a href="/console#y">x</a>'


@pytest.mark.parametrize("name", ["onclick", "style", "onload"])
def test_no_attribute_holds_a_script_or_a_style(name: str) -> None:
    with pytest.raises(ValueError, match="security policy"):
        h("a", **{name: "x"})


def test_parts_of_an_address_stay_parts() -> None:
    assert path("nodes", "a/../b?c#d", q="&=x", empty="") == "/console/nodes/a%2F..%2Fb%3Fc%23d?q=%26%3Dx"


def test_nothing_is_left_out_or_added() -> None:
    assert joined("a", None, ["b", (h("br"), 3)]) == "ab<br>3"
    assert h("input", required=True, checked=False, value=None, max=0) == '<input required max="0">'


@pytest.mark.parametrize("tag", ["rect", "line", "circle", "path", "polyline"])
def test_a_drawing_s_parts_are_ended_lest_one_swallow_the_next(tag: str) -> None:
    """Browsers drew the first part of every drawing, and nothing else."""
    assert h("svg", h(tag, r=1), h(tag, r=2)) == f'<svg><{tag} r="1"></{tag}><{tag} r="2"></{tag}></svg>'


def test_elements_without_an_end_have_none() -> None:
    assert h("p", h("br"), h("input", name="a")) == '<p><br><input name="a"></p>'
