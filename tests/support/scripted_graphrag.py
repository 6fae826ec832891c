"""A model that answers what a tuning and extraction prompts ask, and corpora of any size for it."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Literal

from cuecard.graphrag.answers import tuples_of_json
from cuecard.graphrag.chunks import Chunk
from cuecard.llms.protocol import LLMRequest

Asked = Literal["profile", "types", "example", "measure"]

PROFILE = {
    "domain": "shipping {law}",
    "language": "English",
    "persona": "You are an expert in shipping law.",
    "role": "a clerk who reports on shipping cases to judges",
    "rating": "How much the parties matter to the case: 0 not at all, 10 entirely.",
}
TYPES = (["ships", "person"], ["Ship", "port", "person"], ["person", "ship", "other"])

_NAMES = ("Ann Lee", "Bo Berg", "Caro Diaz", "Dov Eli")
_SHIPS = ("Aurora", "Boreas", "Calypso")


def kind_of(request: LLMRequest) -> Asked:
    """What a request asks for."""
    text = next(each.content for each in request.messages if each.role == "user")
    if '"persona":' in text:
        return "profile"
    if '"entity_types"' in text:
        return "types"
    return "measure" if "<|COMPLETE|>" in text.partition("\n# Text")[0] else "example"


def is_repair(request: LLMRequest) -> bool:
    """Whether it is asked for the second time."""
    return any(each.role == "assistant" for each in request.messages)


def text_of(request: LLMRequest) -> str:
    """The text that an example is asked of."""
    text = next(each.content for each in request.messages if each.role == "user")
    return text.rpartition("\n# Text\n")[2]


def answer(request: LLMRequest) -> str:
    """A good answer to any request."""
    kind = kind_of(request)
    if kind == "profile":
        return json.dumps(PROFILE)
    if kind == "types":
        return json.dumps({"entity_types": TYPES[len(request.messages[-1].content) % len(TYPES)]})
    if kind == "measure":
        text = re.split(r"\n# Text\n|\nText: ", request.messages[-1].content)[-1]
        return tuples_of_json(json.dumps(extraction(text)))
    return json.dumps(extraction(text_of(request)))


def extraction(text: str) -> dict[str, list[dict[str, object]]]:
    """Ships and people of a text, and who commands what."""
    people = [name for name in _NAMES if name in text]
    ships = [name for name in _SHIPS if name in text]
    entities = [{"name": name, "type": "Person", "description": "A master"} for name in people]
    entities += [{"name": name, "type": "ship", "description": "A ship"} for name in ships]
    pairs = [
        {
            "source": person,
            "target": ship,
            "type": "commands",
            "description": f"{person} commands {ship}",
            "weight": 8,
        }
        for person in people
        for ship in ships
        if re.search(rf"{person}\b.*\b{ship}", text)
    ]
    return {"entities": entities, "relationships": pairs}


def chunks(count: int) -> list[Chunk]:
    """Chunks that differ, with braces and delimiters in some of them."""
    draw = random.Random(count)
    found = []
    for number in range(count):
        hostile = " {x} ## <|COMPLETE|> }{" if number % 3 == 0 else ""
        text = (
            f"In case {number}, {draw.choice(_NAMES)} commands the ship {draw.choice(_SHIPS)}."
            f"{hostile}"
        )
        found.append(Chunk(f"{number // 4}.txt", number % 4 + 1, text, 12))
    return found


def save_corpus(folder: Path, count: int) -> Path:
    """So many chunks as files, each far below a chunk's size."""
    folder.mkdir(parents=True)
    for number, chunk in enumerate(chunks(count)):
        (folder / f"{number:04}.txt").write_text(chunk.text, encoding="utf-8")
    return folder
