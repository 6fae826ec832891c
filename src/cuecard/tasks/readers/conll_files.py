"""CoNLL files: a word and its tag on a line, an empty line between sentences.

Tjong Kim Sang & De Meulder 2003 (arXiv:cs/0306050): the word is the first column, the tag the last,
whatever stands between.
"""

from __future__ import annotations

from pathlib import Path

from cuecard.errors import DataError
from cuecard.tasks.readers.tables import Row, Table, place
from cuecard.tasks.readers.text_files import read_text

COLUMNS = ("tokens", "tags")


def read_conll(path: Path) -> Table:
    """The sentences, each with the columns "tokens" and "tags"; a row's number is its first line.

    Raises:
        DataError: a line without a tag, or with other columns than the first one.
    """
    rows: list[Row] = []
    words: list[str] = []
    tags: list[str] = []
    start, width = 0, 0

    def end() -> None:
        if words:
            rows.append((start, {"tokens": list(words), "tags": list(tags)}))
            words.clear()
            tags.clear()

    for number, line in enumerate(read_text(path).split("\n"), start=1):
        cells = line.split()
        if not cells or cells[0] == "-DOCSTART-":
            end()
            continue
        width = width or len(cells)
        if len(cells) < 2 or len(cells) != width:
            raise DataError(
                "a malformed CoNLL line",
                where=place(str(path), number),
                got=f"{len(cells)} columns in {line[:60]!r}",
                expected=f"{max(width, 2)} columns: a word first, its tag last",
                hint="separate sentences with empty lines",
            )
        if not words:
            start = number
        words.append(cells[0])
        tags.append(cells[-1])
    end()
    return Table(str(path), COLUMNS, rows)
