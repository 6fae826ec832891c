"""The README's picture of the board, `docs/board.png`: `make board-picture`.

    python -m benchmarks.board_picture [--runs FOLDER --name NAME]

The page is the board's own, of a comparison that was run: by default the one in
`benchmarks/results/board`, which is the example of docs/compare.md. It needs Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from benchmarks.places import RESULTS, ROOT
from cuecard.board.export import export_board
from cuecard.board.settings import BoardSettings

RUNS = RESULTS / "board"
OUT = ROOT / "docs" / "board.png"
_WIDTH, _COLOURS = 1000, 96


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture; 2 where there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.board_picture")
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--name", default="rotten-tomatoes")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        print("no chromium is installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as site:
        pages = Path(site) / "pages"
        export_board(BoardSettings(given.runs, str(Path(site) / "registry")), pages)
        write_picture(browser, pages / "runs" / f"{given.name}.html", given.out)
    print(f"wrote {given.out}")
    return 0


def write_picture(browser: str, page: Path, out: Path) -> None:
    """Take a picture of an exported page down to its first table's end."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        tab = started.new_page(
            viewport={"width": _WIDTH, "height": 800}, color_scheme="light", device_scale_factor=1
        )
        tab.goto(page.as_uri())
        # When the files were checked out, which says nothing of the run.
        tab.locator(".facts div", has_text="changed").evaluate("(one) => one.remove()")
        box = tab.get_by_role("table").first.bounding_box()
        assert box is not None
        height = box["y"] + box["height"] + 8
        clip = {"x": 0.0, "y": 0.0, "width": float(_WIDTH), "height": height}
        taken = tab.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]
        started.close()
    image = Image.open(io.BytesIO(taken)).convert("RGB")
    image.quantize(_COLOURS).save(out, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
