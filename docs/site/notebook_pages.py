"""docs/notebooks as pages: scripts whose cells begin with `# %%`, as Jupytext reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "notebooks"


def notebook_pages() -> dict[str, Iterator[str]]:
    """File name -> Markdown, of every notebook."""
    return {f"notebook-{path.stem}.md": _page(path) for path in sorted(SCRIPTS.glob("*.py"))}


def _page(path: Path) -> Iterator[str]:
    _, *cells = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for kind, text in zip(cells[::2], cells[1::2], strict=True):
        if "[markdown]" in kind:
            yield re.sub(r"^# ?", "", text.strip(), flags=re.MULTILINE) + "\n\n"
        else:
            yield f"```python\n{text.strip()}\n```\n\n"
    yield (
        f"This page is [docs/notebooks/{path.name}](../docs/notebooks/{path.name}), a script in "
        "Jupytext's percent format: `jupytext --to ipynb` makes a notebook of it.\n"
    )
