"""Pieces of HTML: every text is text, and the same table is one table everywhere."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from cuecard.html_tables import html_facts, html_notes, html_table, html_view

HOSTILE = "<script>alert('1')</script>&amp;\x1b[31m\u202e"


class Reader(HTMLParser):
    """The tags and the texts of a piece of HTML, every tag closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    "html",
    [
        html_table(("label", HOSTILE), [(HOSTILE, HOSTILE)]),
        html_facts([(HOSTILE, HOSTILE)]),
        html_notes([HOSTILE]),
        html_view(HOSTILE, html_notes([HOSTILE])),
    ],
)
def test_texts_are_texts(html: str) -> None:
    found = read(html)
    assert "script" not in found.tags
    shown = [text for text in found.texts if "alert" in text]
    assert shown
    assert set(shown) == {r"<script>alert('1')</script>&amp;\x1b[31m\u202e"}


def test_a_table_has_headings_and_names() -> None:
    html = html_table(("prompt", "accuracy"), [("start", "0.5"), ("trained", "0.9")], bold={1})
    assert read(html).texts == ["prompt", "accuracy", "start", "0.5", "trained", "0.9"]
    assert html.count('scope="col"') == html.count('scope="row"') == 2
    assert html.count("font-weight:bold") == 2
    assert "#" not in html.replace("#8884", "")  # a line's grey is its only colour


def test_large_ones_are_cut() -> None:
    html = html_table(("row", "text"), [(str(n), "x" * 1000) for n in range(60)])
    assert read(html).texts[-1] == "and 10 more rows"
    assert len(html) < 60_000


def test_line_breaks_are_kept() -> None:
    assert read(html_facts([("template", "Review: {text}\nSentiment:")])).texts == [
        "template",
        "Review: {text}",
        "Sentiment:",
    ]
