"""A project's prompts are checked, and what is wrong ends with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.graphrag.prompts.dialects import DIALECTS, PromptLimits
from support.command_line import Call
from support.graphrag_sources import sources

SETTINGS = """\
extract_graph:
  prompt: "prompts/extract_graph.txt"
  entity_types: [person]
summarize_descriptions:
  prompt: "prompts/summarize_descriptions.txt"
community_reports:
  graph_prompt: "prompts/community_report_graph.txt"
extract_claims:
  enabled: false
  prompt: "prompts/extract_claims.txt"
local_search:
  prompt: "prompts/local.txt"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with prompts of ours."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    written = DIALECTS["graphrag"].write(sources(), PromptLimits(9999, len))
    for name, content in {**written.files, "local.txt": "{anything"}.items():
        (tmp_path / "prompts" / name).write_text(content)
    return tmp_path


def test_a_project_in_which_nothing_is_wrong(cuecard: Call, root: Path) -> None:
    done = cuecard("graphrag", "validate", "--root", root)
    assert done.code == 0 and "nothing is wrong" in done.out
    told = cuecard("graphrag", "validate", "--root", root, "--json").json
    assert told["ok"] is True and told["faults"] == []
    assert told["prompts"]["extract_graph.prompt"] == "prompts/extract_graph.txt"
    assert told["prompts"]["community_reports.text_prompt"] == "GraphRAG's own"


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("prompts/extract_graph.txt", "{input_text}", "", "{input_text} is missing"),
        ("prompts/extract_graph.txt", "{{", "{", "not doubled"),
        ("prompts/summarize_descriptions.txt", "{max_length}", "{length}", "{length} in line"),
        ("settings.yaml", "prompts/community_report_graph.txt", "prompts/none.txt", "none.txt"),
        ("settings.yaml", "[person]", "[]", "extract_graph.entity_types"),
        ("settings.yaml", "enabled: false", "enabled: true", "extract_claims.prompt"),
    ],
)
def test_what_is_wrong_ends_with_2(
    cuecard: Call, root: Path, file: str, old: str, new: str, expected: str
) -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))
    done = cuecard("graphrag", "validate", "--root", root)
    assert done.code == 2 and expected in done.out
    told = cuecard("graphrag", "validate", "--root", root, "--json")
    assert told.code == 2 and told.json["ok"] is False and told.json["faults"]


def test_a_missing_prompt_of_a_search_is_told_and_stops_no_index_run(
    cuecard: Call, root: Path
) -> None:
    """`graphrag init` of 3.3.0 names one that it does not write."""
    (root / "prompts" / "local.txt").unlink()
    done = cuecard("graphrag", "validate", "--root", root)
    assert done.code == 0 and "nothing is wrong" in done.out
    assert "local_search.prompt" in done.out and "an index run does not need it" in done.out
    told = cuecard("graphrag", "validate", "--root", root, "--json").json
    assert told["ok"] is True and len(told["notes"]) == 1


def test_prompts_are_those_of_a_version(cuecard: Call, root: Path) -> None:
    old = DIALECTS["graphrag-2"].write(sources(), PromptLimits(9999, len))
    (root / "prompts/extract_graph.txt").write_text(old.files["extract_graph.txt"])
    done = cuecard("graphrag", "validate", "--root", root)
    assert done.code == 2 and "GraphRAG 3 has its delimiters in the text itself" in done.out
    assert cuecard("graphrag", "validate", "--root", root, "--dialect", "graphrag-2").code == 0


def test_settings_of_versions_before_1(cuecard: Call, root: Path) -> None:
    old = "entity_extraction:\n  prompt: p.txt\ncommunity_reports:\n  prompt: q.txt\n"
    (root / "settings.yaml").write_text(old)
    (root / "p.txt").write_text("{input_text} {tuple_delimiter} ## <|COMPLETE|>")
    (root / "q.txt").write_text("{input_text} {wrong}")
    done = cuecard("graphrag", "validate", "--root", root, "--dialect", "graphrag-2")
    assert done.code == 2 and "{wrong} in line 1" in done.out and "1 fault" in done.out
    assert "extract_claims.prompt" in done.out and "claim_extraction" not in done.out


def test_no_project(cuecard: Call, tmp_path: Path) -> None:
    done = cuecard("graphrag", "validate", "--root", tmp_path)
    assert done.code == 2 and "there is no GraphRAG project" in done.err
