"""SVG as text, with every value in it escaped.

Widths are shares of the picture's, so that its letters keep their size on a phone; a page's
stylesheet may replace the colours, which are attributes.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from cuecard.visible import visible

BLUE, GREY, INK, FAINT = "#2563a8", "#8a94a0", "#3a4450", "#d5dae0"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def element(tag: str, *inside: str, **attributes: object) -> str:
    """An element; what is inside is SVG already.

    Args:
        attributes: by their names; `_` stands for a hyphen, and at the end for nothing.
    """
    shown = "".join(
        f" {name.rstrip('_').replace('_', '-')}={quoteattr(visible(str(value)))}"
        for name, value in attributes.items()
    )
    return f"<{tag}{shown}>{''.join(inside)}</{tag}>" if inside else f"<{tag}{shown}/>"


def words(text: str, **attributes: object) -> str:
    """A text as an element."""
    shown = escape(visible(text))
    return element("text", shown, font_size=13, fill=INK, class_="words", **attributes)


def picture(
    parts: Iterable[str], *, width: int, height: int, title: str, class_: str = "chart"
) -> str:
    """A whole picture, which a screen reader calls by its title."""
    return element(
        "svg",
        element("title", escape(visible(title))),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=height,
        role="img",
        aria_label=title,
        font_family=_FONT,
        class_=class_,
    )


def share(value: float) -> str:
    """A length as a share of the whole width."""
    return f"{100 * value:.2f}%"
