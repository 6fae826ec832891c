"""The tables in the docs are those of the results that are stored."""

from __future__ import annotations

import pytest

from benchmarks.tables import TABLES, DocTable


@pytest.mark.parametrize("doc", TABLES.values(), ids=TABLES)
def test_the_page_shows_the_stored_results(doc: DocTable) -> None:
    page = doc.page.read_text()
    assert doc.updated(page, doc.stored()) == page


@pytest.mark.parametrize("name", [name for name in TABLES if name != "training"])
def test_without_results_a_table_says_so(name: str) -> None:
    assert "Not measured yet" in TABLES[name].table({})
