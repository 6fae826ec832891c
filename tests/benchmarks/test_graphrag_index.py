"""What is told of a graph that GraphRAG made."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.graphrag.index import GraphTables, keep
from benchmarks.graphrag.tables import INDEX_ROWS, index_table
from cuecard.errors import TrainingError


def write_graph(folder: Path, names: list[str], pairs: list[tuple[str, str]]) -> GraphTables:
    folder.mkdir()
    for table in INDEX_ROWS:
        parquet.write_table(pa.table({"id": ["1", "2"]}), folder / f"{table}.parquet")
    sources, targets = zip(*pairs, strict=True)
    parquet.write_table(pa.table({"title": names}), folder / "entities.parquet")
    related = pa.table({"source": sources, "target": targets})
    parquet.write_table(related, folder / "relationships.parquet")
    return GraphTables(folder)


def test_a_graph_beside_an_earlier_one(tmp_path: Path) -> None:
    mine = write_graph(tmp_path / "mine", ["Ann", "Bo", "Caro"], [("BO", "ANN"), ("Bo", "Caro")])
    reference = write_graph(tmp_path / "other", ["ANN", "DIRK"], [("Ann", "Bo")])
    assert mine.rows()["entities"] == 3 and mine.rows()["text_units"] == 2
    assert reference.found_in(mine) == {"entities": 0.5, "relationships": 1.0}
    assert mine.found_in(reference) == {"entities": 0.333, "relationships": 0.5}


@pytest.mark.parametrize("table", INDEX_ROWS)
def test_a_graph_that_is_not_whole_is_refused(tmp_path: Path, table: str) -> None:
    graph = write_graph(tmp_path / "graph", ["Ann"], [("Ann", "Bo")])
    (tmp_path / "graph" / f"{table}.parquet").unlink()
    with pytest.raises(TrainingError, match="not whole"):
        graph.rows()


def test_graphs_are_kept_by_name_for_the_docs(tmp_path: Path) -> None:
    rows = dict(zip(INDEX_ROWS, (5, 1200, 80, 7, 6), strict=True))
    other = {"rows": rows | {"entities": 40}, "found": {"entities": 0.25, "relationships": 0.05}}
    told = {"model": "tiny", "texts": 1, "calls": 31, "tokens": 90_000, "cpu_s": 150, "rows": rows}
    keep("novel", told, tmp_path)
    keep("calls", told | {"reference": other}, tmp_path)
    keep("novel", told | {"cpu_s": 90, "reporter": "large"}, tmp_path)
    found = index_table(json.loads((tmp_path / "graphrag_index.json").read_text()))
    assert (
        "| novel (1) | tiny; reports: large | 5 | 1,200 | 80 | 7 | 6 | 31 | 90,000 | 2 |" in found
    )
    assert "| calls, made before | another | 5 | 40 | 80 | 7 | 6 |  |  |  |" in found
    assert "calls that was made before, it has 25% of its entities and 5% of its relat" in found
    assert found.count("novel") == 1
