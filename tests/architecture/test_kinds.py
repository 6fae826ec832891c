"""What depends on a task's kind is in the kind's own file: nothing else asks which kind it is."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "cuecard"
ASKS = re.compile(r"\.kind\b *(==|!=|in\b|not in\b)|\.headed\b")


def asking(sources: dict[str, str]) -> list[str]:
    return sorted(path for path, text in sources.items() if ASKS.search(text))


def test_hardly_any_file_asks_for_a_kind() -> None:
    sources = {
        path.relative_to(SOURCE).as_posix(): path.read_text() for path in SOURCE.rglob("*.py")
    }
    found = asking(sources)
    # These ask for an array's and a header's kind.
    assert set(found) <= {"artifacts/importing.py", "catalogue/weights/gguf.py"}, found


def test_what_is_seen() -> None:
    sources = {
        "a.py": 'if spec.kind == "tagging":\n    pass',
        "b.py": "kind = spec.task_kind\n",
        "c.py": "spec.kind not in KINDS",
        "d.py": "spec.headed",
    }
    assert asking(sources) == ["a.py", "c.py", "d.py"]
