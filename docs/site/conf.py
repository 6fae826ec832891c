"""The site of docs/: its pages, and references made of the code. `make docs` builds it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

SITE = Path(__file__).parent
sys.path.insert(0, str(SITE))
from references import write_references  # noqa: E402 - it lies beside this file

ROOT = SITE.parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]

project, author = PROJECT["name"], PROJECT["authors"][0]["name"]
version = release = PROJECT["version"]
copyright = author  # noqa: A001 - Sphinx's name for it
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "index"
exclude_patterns = ["site"]
html_theme = "furo"
html_title = f"{project} {version}"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True  # attributes that a docstring names may be documented themselves
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
python_use_unqualified_type_names = True
# A page's code may be in a form that no lexer knows.
suppress_warnings = ["misc.highlighting_failure"]

_OUTSIDE = re.compile(r"\]\(\.\./([^)#]+)")


def _to_repository(app: Any, name: str, source: list[str]) -> None:
    """Links out of docs/ lead into the repository."""
    source[0] = _OUTSIDE.sub(rf"]({REPOSITORY}/blob/main/\1", source[0])


def _write_references(app: Any) -> None:
    write_references(Path(app.srcdir) / "reference")


def setup(app: Any) -> None:
    """Sphinx calls it."""
    app.connect("builder-inited", _write_references)
    app.connect("source-read", _to_repository)
