"""A project's settings file: read as GraphRAG reads it, changed without losing a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cuecard.errors import ConfigError, FileError
from cuecard.yaml_files import DuplicateKeyError, load_yaml

NAMES = ("settings.yaml", "settings.yml", "settings.json")
"""In the order in which GraphRAG looks for them."""

SettingValue = str | Sequence[str]


def find_settings(root: Path) -> Path | None:
    """The project's settings file; None without one."""
    return next((root / name for name in NAMES if (root / name).is_file()), None)


def read_settings(path: Path) -> tuple[str, dict[str, Any]]:
    """The file's text, and what it says.

    GraphRAG fills ${VARIABLES} of the environment in. They hold keys and addresses, so they are
    left as they are here.

    Raises:
        ConfigError: it is not YAML, or JSON, or no mapping.
        FileError: it cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise FileError.of(error, "the project's settings cannot be read", path) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the project's settings are not UTF-8", where=str(path)) from error
    return text, _parsed(text, path)


def changed_settings(path: Path, text: str, changes: Mapping[str, SettingValue]) -> str:
    """The file's text with other values, all else as it was, comments and all.

    Args:
        changes: "section.key" -> its new value.

    Raises:
        ConfigError: it is written in a way that cannot be changed safely.
    """
    before = _parsed(text, path)
    escaped = {name: _dollars(value) for name, value in changes.items()}
    if path.suffix == ".json":
        return json.dumps(_with(before, escaped), ensure_ascii=False, indent=2) + "\n"
    new = text
    for name, value in escaped.items():
        section, key = name.split(".")
        new = _replaced(new, section, key, _written(value))
    if not _says(new, path, _with(before, escaped)):
        raise ConfigError(
            "the settings are written in a way that cannot be changed safely",
            where=str(path),
            expected="plain sections and keys",
            hint="write these lines yourself: "
            + "; ".join(f"{name}: {_written(value)}" for name, value in changes.items()),
        )
    return new


def _says(text: str, path: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a text is settings, and these."""
    try:
        return _parsed(text, path) == settings
    except ConfigError:
        return False


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(text) if path.suffix == ".json" else load_yaml(text)
    except (yaml.YAMLError, DuplicateKeyError, ValueError) as error:
        raise ConfigError(
            "the project's settings cannot be read",
            where=str(path),
            got=" ".join(str(error).split()),
            expected="JSON" if path.suffix == ".json" else "YAML",
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(
            "the project's settings are no mapping", where=str(path), got=type(found).__name__
        )
    return found


def _with(settings: Mapping[str, Any], changes: Mapping[str, SettingValue]) -> dict[str, Any]:
    found = dict(settings)
    for name, value in changes.items():
        section, key = name.split(".")
        inner = found.get(section)
        new = value if isinstance(value, str) else list(value)
        found[section] = {**(inner if isinstance(inner, dict) else {}), key: new}
    return found


def _dollars(value: SettingValue) -> SettingValue:
    """GraphRAG takes $ for the beginning of a variable's name."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    return [each.replace("$", "$$") for each in value]


def _written(value: SettingValue) -> str:
    """In one line; what JSON can write YAML can read."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "[" + ", ".join(json.dumps(each, ensure_ascii=False) for each in value) + "]"


def _replaced(text: str, section: str, key: str, value: str) -> str:
    """YAML with another value of a section's key."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    found = _entry(node, section)
    if found is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}\n{section}:\n  {key}: {value}\n"
    name, inner = found
    if not isinstance(inner, yaml.MappingNode) or inner.flow_style:
        if isinstance(inner, yaml.ScalarNode) and inner.value == "":  # the section is empty
            return _inserted(text, name.end_mark.index, f"  {key}: {value}")
        return text  # in a form that is left to the user
    entry = _entry(inner, key)
    if entry is None:
        indent = " " * inner.value[0][0].start_mark.column
        return _inserted(text, name.end_mark.index, f"{indent}{key}: {value}")
    own, old = entry
    begin, end = _span(text, old)
    gap = "" if text[begin - 1 : begin].isspace() else " "
    if old.start_mark.line > own.start_mark.line and old.start_mark.column <= own.start_mark.column:
        gap = "  "  # lines of a list may begin where their key does, other values may not
    return text[:begin] + gap + value + text[end:]


def _entry(node: Any, key: str) -> tuple[Any, Any] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((name, value) for name, value in node.value if name.value == key), None)


def _span(text: str, node: Any) -> tuple[int, int]:
    """Where a value stands. A list of lines would end only where the next key begins."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return node.start_mark.index, max(_span(text, each)[1] for each in node.value)
    begin, end = node.start_mark.index, node.end_mark.index
    return begin, begin + len(text[begin:end].rstrip())  # of a block, lines behind it too


def _inserted(text: str, after: int, line: str) -> str:
    """A line below the one that a place is in."""
    end = re.compile(r"\n|$").search(text, after)
    assert end is not None
    return f"{text[: end.start()]}\n{line}{text[end.start() :]}"
