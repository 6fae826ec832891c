"""The tables in the docs, made from benchmarks/results: `python -m benchmarks.tables`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.advice.tables import advice_table
from benchmarks.compare.tables import compare_table
from benchmarks.compile.tables import compile_figure, compile_table
from benchmarks.fewshot.tables import fewshot_figure, fewshot_table
from benchmarks.graphrag.tables import graphrag_figure, graphrag_table, index_table
from benchmarks.learning.tables import learning_table
from benchmarks.methods.tables import methods_figure, methods_table
from benchmarks.multitask.tables import multitask_table
from benchmarks.places import RESULTS, ROOT
from benchmarks.search.peers_tables import search_peers_table
from benchmarks.search.tables import races_table, search_figure, search_table
from benchmarks.serving.tables import serving_table, thousand_table
from benchmarks.training.tables import precision_table, shares_figure, training_table
from benchmarks.vision.tables import speed_table, vision_figure, vision_table

END = "<!-- end -->"


@dataclass(frozen=True)
class DocTable:
    """A table in the docs, and its figure where it has one.

    Attributes:
        name: of its results in benchmarks/results.
        on: the page's name in docs.
        table, figure: Markdown of the results.
    """

    name: str
    on: str
    table: Callable[[Any], str]
    figure: Callable[[Any], str] | None = None

    @property
    def page(self) -> Path:
        """The page that it is on."""
        return ROOT / "docs" / self.on

    @property
    def results(self) -> Path:
        """Where its results are."""
        return RESULTS / f"{self.name}.json"

    @property
    def begin(self) -> str:
        """The mark in front of the table."""
        return f"<!-- benchmarks/results/{self.name}.json -->"

    @property
    def figure_begin(self) -> str:
        """The mark in front of the figure."""
        return f"<!-- figure of benchmarks/results/{self.name}.json -->"

    def stored(self) -> Any:
        """What was measured; empty before it was."""
        return json.loads(self.results.read_text()) if self.results.exists() else {}

    def updated(self, page: str, results: Any) -> str:
        """The page with the table and the figure of these results between their marks."""
        page = _replaced(page, self.begin, self.table(results))
        if self.figure is None:
            return page
        return _replaced(page, self.figure_begin, self.figure(results))


TABLES: Mapping[str, DocTable] = {
    each.name: each
    for each in (
        DocTable("advice", "advise.md", advice_table),
        DocTable("training", "speed.md", training_table, shares_figure),
        DocTable("vision_speed", "speed.md", speed_table),
        DocTable("precision", "speed.md", precision_table),
        DocTable("serving", "serving-engine.md", serving_table),
        DocTable("serving_1000", "serving-engine.md", thousand_table),
        DocTable("methods", "methods.md", methods_table, methods_figure),
        DocTable("methods_few", "methods.md", methods_table),
        DocTable("multitask", "few-shot.md", multitask_table),
        DocTable("learning", "methods.md", learning_table),
        DocTable("vision", "vision.md", vision_table, vision_figure),
        DocTable("compare", "compare.md", compare_table),
        DocTable("compile", "compile.md", compile_table, compile_figure),
        DocTable("fewshot", "few-shot.md", fewshot_table, fewshot_figure),
        DocTable("search", "search.md", search_table, search_figure),
        DocTable("search_races", "search.md", races_table),
        DocTable("search_peers", "search.md", search_peers_table),
        DocTable("graphrag", "graphrag.md", graphrag_table, graphrag_figure),
        DocTable("graphrag_index", "graphrag.md", index_table),
    )
}


def main() -> int:
    """Rewrite the pages' tables."""
    for each in TABLES.values():
        each.page.write_text(each.updated(each.page.read_text(), each.stored()))
    return 0


def _replaced(page: str, begin: str, text: str) -> str:
    before, rest = page.split(begin, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{begin}\n{text}\n{END}{after}"


if __name__ == "__main__":
    sys.exit(main())
