"""What extraction is measured on: gold sets of entities and relations, which are not shipped.

A folder of corpora has one folder per set with train.jsonl and test.jsonl, in a shape that
`cuecard.graphrag.gold` reads: CoNLL04 (Roth and Yih 2004) and SciERC (Luan et al. 2018).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cuecard.errors import FileError
from cuecard.graphrag.gold import GoldText, read_gold
from cuecard.plain_files import write_text

TEST, SOLVED, SEARCHED, TRAINED = "test.jsonl", "solved.jsonl", "searched.jsonl", "trained.jsonl"
CORPUS = "corpus.jsonl"
"""What `write_texts` writes: gold sets, and texts that nobody has read."""


@dataclass(frozen=True)
class ExtractionSet:
    """A gold set.

    Attributes:
        folder: in the folder of corpora.
        names: type -> what prompts call it; every prompt is told these.
    """

    folder: str
    names: Mapping[str, str]

    @property
    def types(self) -> tuple[str, ...]:
        """What prompts call its types."""
        return tuple(self.names.values())


EXTRACTION_SETS: Mapping[str, ExtractionSet] = MappingProxyType(
    {
        "conll04": ExtractionSet(
            "ie_conll04",
            {"Loc": "location", "Org": "organization", "Peop": "person", "Other": "other"},
        ),
        "scierc": ExtractionSet(
            "ie_scierc",
            {
                "Task": "task",
                "Method": "method",
                "Material": "material",
                "Metric": "metric",
                "OtherScientificTerm": "other scientific term",
                "Generic": "generic",
            },
        ),
    }
)


@dataclass(frozen=True)
class ExtractionSizes:
    """Texts of each set.

    Attributes:
        test: that every contestant is measured on, of the test file.
        solved: training texts with gold, for a tuning's examples.
        searched: training texts with gold, for the search.
        trained: training texts with gold, for the soft prompt.
        corpus: training texts without it, for tunings.
    """

    test: int = 40
    solved: int = 20
    searched: int = 60
    trained: int = 320
    corpus: int = 400


def write_texts(
    corpora: Path, name: str, sizes: ExtractionSizes, seed: int, folder: Path
) -> ExtractionSet:
    """Write a set's texts to a folder; the test texts are the same for all seeds.

    Raises:
        FileError: the set is not there.
    """
    chosen = EXTRACTION_SETS[name]
    place = corpora / chosen.folder
    if not place.is_dir():
        raise FileError(
            "there is no such gold set",
            where=str(place),
            expected=f"--corpora FOLDER with {chosen.folder}/train.jsonl and test.jsonl",
        )
    train = read_gold(place / "train.jsonl").renamed(chosen.names)
    test = read_gold(place / "test.jsonl").renamed(chosen.names)
    gold = {
        TEST: test.drawn(sizes.test, 0),
        SOLVED: train.drawn(sizes.solved, seed + 3),
        SEARCHED: train.drawn(sizes.searched, seed + 1),
        TRAINED: train.drawn(sizes.trained, seed + 2),
    }
    for file, texts in gold.items():
        write_text("".join(map(_gold_line, texts.texts)), folder / file)
    bare = train.drawn(sizes.corpus, seed)
    write_text("".join(_line({"text": each.text}) for each in bare.texts), folder / CORPUS)
    return chosen


def write_inputs(texts: Path, folder: Path) -> None:
    """Write each of the bare texts to a file of its own, as a GraphRAG project has its input."""
    folder.mkdir(parents=True)
    for number, line in enumerate(texts.read_text(encoding="utf-8").split("\n")[:-1]):
        write_text(json.loads(line)["text"] + "\n", folder / f"{number:04}.txt")


def _gold_line(text: GoldText) -> str:
    entities = [{"name": each.name, "type": each.type} for each in text.extraction.entities]
    relations = [
        {"source": each.source, "target": each.target, "type": each.type}
        for each in text.extraction.relations
    ]
    return _line({"text": text.text, "entities": entities, "relations": relations})


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
