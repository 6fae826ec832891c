"""A project is read as GraphRAG reads it, and written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.errors import ConfigError, FileError
from cuecard.graphrag.chunks import ChunkSizes
from cuecard.graphrag.corpus import CorpusFormat
from cuecard.graphrag.project.project import TYPES, GraphProject, write_all


def project(folder: Path, text: str) -> GraphProject:
    folder.mkdir(exist_ok=True)
    (folder / "settings.yaml").write_text(text)
    return GraphProject.at(folder)


def test_settings_of_version_3(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        "input:\n  type: csv\n  text_column: body\n  encoding: latin-1\n  file_pattern: x$\n"
        "input_storage:\n  base_dir: texts\n"
        "chunking:\n  size: 300\n  overlap: 30\n  encoding_model: cl100k_base\n"
        "  prepend_metadata: [title]\n"
        "extract_graph:\n  entity_types: [a, b]\n",
    )
    assert found.corpus == tmp_path / "texts"
    assert found.format == CorpusFormat("body", "latin-1", "x$")
    assert found.sizes == ChunkSizes(300, 30, ("title",))
    assert (found.encoding, found.types, found.by_sentences) == ("cl100k_base", ("a", "b"), False)


def test_settings_of_versions_before(tmp_path: Path) -> None:
    old = "input:\n  storage:\n    base_dir: in\nchunks:\n  size: 99\n  overlap: 9\n"
    found = project(tmp_path, old)
    assert (found.corpus, found.sizes) == (tmp_path / "in", ChunkSizes(99, 9))
    assert project(tmp_path, "input:\n  base_dir: in0\n").corpus == tmp_path / "in0"
    assert project(tmp_path, "chunking:\n  type: sentence\n").by_sentences


def test_without_settings_there_are_graphrags_own(tmp_path: Path) -> None:
    found = GraphProject.at(tmp_path / "new")
    assert found.corpus == tmp_path / "new" / "input"
    assert (found.sizes, found.types, found.format) == (ChunkSizes(), TYPES, CorpusFormat())
    assert found.encoding == "o200k_base"
    with pytest.raises(ConfigError, match="no settings to change"):
        found.applied({"extract_graph.prompt": "p"})


def test_what_cannot_be_a_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="a project is a folder"):
        GraphProject.at(tmp_path / "file")
    with pytest.raises(ConfigError, match="not a number of tokens"):
        _ = project(tmp_path, "chunking:\n  size: many\n").sizes
    with pytest.raises(ConfigError, match="never get to the end"):
        _ = project(tmp_path, "chunking:\n  size: 10\n  overlap: 10\n").sizes


def test_files_that_were_there_are_kept_beside_new_ones(tmp_path: Path) -> None:
    one, two = tmp_path / "p" / "one.txt", tmp_path / "p" / "two.txt"
    assert write_all({one: b"1", two: b"2"}) == {}
    assert write_all({one: b"1", two: b"22"}) == {two: tmp_path / "p" / "two.txt.bak"}
    assert write_all({two: b"222"}) == {two: tmp_path / "p" / "two.txt.bak2"}
    assert write_all({two: b"22"}) == {two: tmp_path / "p" / "two.txt.bak3"}
    assert write_all({two: b"2"})[two].read_bytes() == b"22"
    names = {path.name: path.read_bytes() for path in one.parent.iterdir()}
    assert names["two.txt.bak"] == b"2" and names["two.txt.bak2"] == b"22"


def test_if_one_file_cannot_be_written_none_is(tmp_path: Path) -> None:
    old, new, same = tmp_path / "old.txt", tmp_path / "new.txt", tmp_path / "same.txt"
    old.write_bytes(b"before")
    same.write_bytes(b"same")
    (tmp_path / "file").write_text("")
    broken = tmp_path / "file" / "never.txt"  # below a file
    with pytest.raises(FileError):
        write_all({old: b"after", new: b"new", same: b"same", broken: b""})
    assert (old.read_bytes(), new.exists(), same.read_bytes()) == (b"before", False, b"same")
