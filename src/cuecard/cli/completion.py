"""What a shell completes the value of an option with. Nothing is imported or fetched for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from cuecard.registry.default_place import DEFAULT_REGISTRY

Names = Callable[[Mapping[str, Any]], Iterable[str]]
"""Gives the names, of what was typed of the other parameters."""


def completer(names: Names) -> Callable[[typer.Context, str], list[str]]:
    """The names that begin as what was typed, as typer asks for them."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return [name for name in names(ctx.params) if name.startswith(incomplete)]

    return complete


def prompt_names(params: Mapping[str, Any]) -> list[str]:
    """The prompts of a registry in a local folder; none of one in an object store."""
    folder = _prompts_in(params)
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def version_names(params: Mapping[str, Any]) -> list[str]:
    """Their aliases and newest versions, as NAME@ALIAS and NAME@latest."""
    folder = _prompts_in(params)
    found = []
    for name in prompt_names(params):
        aliases = folder / name / "aliases"
        found.append(f"{name}@latest")
        if aliases.is_dir():
            found += [f"{name}@{alias.name}" for alias in sorted(aliases.iterdir())]
    return found


def _prompts_in(params: Mapping[str, Any]) -> Path:
    return Path(params.get("registry") or DEFAULT_REGISTRY) / "prompts"
