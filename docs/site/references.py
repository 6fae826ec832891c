"""References that are made of the code: commands, recipes, the server's routes, public names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from http_reference import http_page
from notebook_pages import notebook_pages
from recipe_reference import recipe_page
from typer.main import get_command

import cuecard
from cuecard.cli.main import COMMANDS, GROUPS, app_for

_WIDTH = 90
_TITLES = {
    "train": "Train and compare",
    "use": "Use",
    "publish": "Publish",
    "serve": "Serve",
    "graphrag": "GraphRAG",
    "machine": "The machine",
}


def write_references(folder: Path) -> None:
    """Each page and the notebooks', where they differ from what is there."""
    folder.mkdir(exist_ok=True)
    pages = {
        "cli.md": _commands(),
        "recipes.md": recipe_page(),
        "http.md": http_page(),
        "api.rst": _names(),
        **notebook_pages(),
    }
    for name, parts in pages.items():
        file, text = folder / name, "".join(parts)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _commands() -> Iterator[str]:
    yield "# Commands\n\nEach command's `--help`.\n"
    for group in GROUPS:
        yield f"\n## {_TITLES[group]}\n"
        for name, (module, _) in COMMANDS.items():
            if module.startswith(f"{group}."):
                yield f"\n### `cuecard {name}`\n\n```text\n{help_of(name)}\n```\n"


def help_of(name: str) -> str:
    """What `cuecard NAME --help` prints, for a terminal of a fixed width."""
    words, command, context = name.split(), get_command(app_for(name)), None
    for word in ["cuecard", *words]:
        if context is not None:
            command = command.get_command(context, word)
        context = command.make_context(
            word,
            [],
            parent=context,
            resilient_parsing=True,
            max_content_width=_WIDTH,
            terminal_width=_WIDTH,
        )
    return command.get_help(context).rstrip()


def _names() -> Iterator[str]:
    yield "Python\n======\n\nEverything of the package ``cuecard`` that may be imported from it.\n"
    found = {name: getattr(cuecard, name) for name in cuecard.__all__}
    parts = {
        "Functions": [name for name, value in found.items() if inspect.isroutine(value)],
        "Classes": [name for name, value in found.items() if inspect.isclass(value)],
    }
    for title, names in parts.items():
        yield f"\n{title}\n{'-' * len(title)}\n"
        kind = "function" if title == "Functions" else "class"
        for name in sorted(names, key=str.lower):
            yield f"\n.. auto{kind}:: cuecard.{name}\n"
            if kind == "class":
                yield "   :members:\n"
