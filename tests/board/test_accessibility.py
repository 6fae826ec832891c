"""Every page by axe, in light and dark, on a phone and on a desk: what it finds wrong is mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.browser import DESK, PHONE, Tab, faults, tab

PATHS = (
    "/",
    "/?q=nothing",
    "/runs/first",
    "/runs/live",
    "/runs/contest",
    "/runs/contest~contests~all-rows~lora",
    "/runs/words",
    "/runs/first/rows",
    "/compare?run=first&run=second&show=all",
    "/compare?run=first",
    "/data",
    "/data?data.path=reviews.csv",
    "/new?data.path=reviews.csv",
    "/registry",
    "/registry/reviews",
    "/runs/missing",
    "/login",
)


# Colours do not depend on the size, nor the rest on colours: two full checks see all.
@pytest.mark.parametrize(
    ("size", "scheme", "rules"),
    [
        pytest.param(PHONE, "light", (), id="360-light"),
        pytest.param(DESK, "dark", (), id="1280-dark"),
        pytest.param(PHONE, "dark", ("color-contrast",), id="360-dark"),
        pytest.param(DESK, "light", ("color-contrast",), id="1280-light"),
    ],
)
def test_every_page_fits_and_can_be_read(
    size: dict[str, Any], scheme: str, rules: tuple[str, ...], browser: Any, url: str, kinds: Path
) -> None:
    with tab(browser, url, color_scheme=scheme, **size) as opened:
        for path in PATHS:
            page = opened.open(path)
            page.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, path
            assert faults(page, *rules) == [], path
        # The run that is missing, and the comparison of a single one.
        opened.problems[:] = [p for p in opened.problems if "404" not in p and "400" not in p]


def test_axe_finds_what_is_wrong(desk: Tab) -> None:
    page = desk.open("/")
    page.evaluate(
        """document.querySelector("main").insertAdjacentHTML("beforeend",
          "<button></button><p class=\'pale\'>pale</p><input>");
        document.querySelector(".pale").style.color = "rgb(220, 220, 220)";"""
    )
    found = {fault.split()[0] for fault in faults(page)}
    assert found == {"button-name", "color-contrast", "label"}
