"""One name, one thing: no public class name is defined in two modules."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "cuecard"


def public_classes(tree: ast.Module) -> Iterator[str]:
    """Names of the classes at the top of a module, also below an `if`."""
    nodes = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.If | ast.Try):
            nodes += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


def defined_twice(sources: dict[str, str]) -> dict[str, list[str]]:
    """Class name -> the modules that define it, where they are more than one."""
    found = defaultdict(list)
    for path, text in sources.items():
        for name in public_classes(ast.parse(text)):
            found[name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_no_class_name_is_defined_twice() -> None:
    sources = {
        path.relative_to(SOURCE).as_posix(): path.read_text() for path in SOURCE.rglob("*.py")
    }
    assert defined_twice(sources) == {}, "give one of them a name of its own"


def test_what_is_seen() -> None:
    sources = {
        "a.py": "class Row: ...\nclass _Cell: ...\nif True:\n    class Part: ...\n",
        "b.py": "class Row:\n    class Cell: ...\nclass _Cell: ...\n",
        "c.py": "try:\n    import x\nexcept ImportError:\n    pass\nelse:\n    class Part: ...\n",
    }
    assert defined_twice(sources) == {"Row": ["a.py", "b.py"], "Part": ["a.py", "c.py"]}
