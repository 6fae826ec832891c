"""Texts about who lives where, with gold, and a scripted model that extracts from them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cuecard.graphrag.answers import json_of, tuples_of
from cuecard.graphrag.records import Entity, Extraction, Relation
from cuecard.llms.protocol import LLMRequest

NAMES = ("Ann", "Bob", "Cleo", "Dora", "Emil", "Fay")


def what_is_in(row: int, types: tuple[str, str] = ("person", "place")) -> Extraction:
    name = NAMES[row % 6]
    return Extraction(
        (Entity(name, types[0], "a person"), Entity(f"Town{row}", types[1], "a town")),
        (Relation(name, f"Town{row}", "lives there", 7.0),),
    )


def text_of(row: int) -> str:
    return f"{NAMES[row % 6]} lives in Town{row}."


def save_gold(path: Path, rows: int) -> Path:
    """A gold set of ours; a document has two texts."""
    lines = []
    for row in range(rows):
        found = what_is_in(row)
        lines.append(
            {
                "text": text_of(row),
                "document": f"d{row // 2}",
                "entities": [{"name": e.name, "type": e.type} for e in found.entities],
                "relations": [
                    {"source": r.source, "target": r.target, "type": "lives in"}
                    for r in found.relations
                ],
            }
        )
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def save_corpus(folder: Path, rows: int) -> Path:
    folder.mkdir()
    for row in range(rows):
        (folder / f"{row:03}.txt").write_text(text_of(row))
    return folder


def extracted(request: LLMRequest) -> str | None:
    """Finds all when asked to be careful, else the person alone; in the form that is asked for.

    Asked to write an instruction, it says to be careful.
    """
    text = request.messages[-1].content
    towns = re.findall(r"Town(\d+)\.", text)
    if text.startswith("Entities of these types"):
        return "nothing"
    if "<prompt>" in text or not towns:
        return "<prompt>Be careful.</prompt>"
    found = what_is_in(int(towns[-1]))
    if "careful" not in text.casefold():
        found = Extraction(found.entities[:1])
    return json_of(found) if "JSON" in text else tuples_of(found)
