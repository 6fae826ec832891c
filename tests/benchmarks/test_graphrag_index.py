"""What is told of a graph that GraphRAG made."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.graphrag.index import TABLES, GraphTables
from cuecard.errors import TrainingError


def write_graph(folder: Path, names: list[str], pairs: list[tuple[str, str]]) -> GraphTables:
    folder.mkdir()
    for table in TABLES:
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


@pytest.mark.parametrize("table", TABLES)
def test_a_graph_that_is_not_whole_is_refused(tmp_path: Path, table: str) -> None:
    graph = write_graph(tmp_path / "graph", ["Ann"], [("Ann", "Bo")])
    (tmp_path / "graph" / f"{table}.parquet").unlink()
    with pytest.raises(TrainingError, match="not whole"):
        graph.rows()
