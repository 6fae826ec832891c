"""YAML without code and without surprises: a key that is given twice is an error."""

from __future__ import annotations

from typing import Any

import yaml


class DuplicateKeyError(ValueError):
    """A key that a mapping has twice; YAML's reader would keep the last and say nothing.

    Attributes:
        key: as it is written.
        first, line: the two lines, counted from 1.
    """

    def __init__(self, key: str, first: int, line: int) -> None:
        super().__init__(f"the key {key!r} twice, in lines {first} and {line}")
        self.key, self.first, self.line = key, first, line


# libyaml reads seven times as fast, where PyYAML was built with it.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):  # type: ignore[misc]
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            # A merge key (<<) may stand several times, and what it merges is meant to be replaced.
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                raise DuplicateKeyError(key.value, lines[key.value], line)
            lines[key.value] = line
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def load_yaml(text: str) -> Any:
    """A YAML document as plain values.

    Raises:
        yaml.YAMLError: no YAML, or tags that would make objects.
        DuplicateKeyError: a key twice in one mapping.
    """
    # The loader is SafeLoader's own kind: plain values alone.
    try:
        return yaml.load(text, _Loader)
    except DuplicateKeyError:
        raise
    except ValueError as error:  # such as a date in a thirteenth month
        raise yaml.YAMLError(str(error)) from error
