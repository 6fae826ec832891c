"""Settings are changed in their place, and everything else in the file is as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cuecard.errors import ConfigError
from cuecard.graphrag.project.settings_file import changed_settings, find_settings, read_settings

# As `graphrag init` of version 3 writes them, in part.
INIT = """\
### This config file contains required core defaults.
completion_models:
  default_completion_model:
    api_key: ${GRAPHRAG_API_KEY} # set this in the generated .env file

chunking:
  type: tokens
  size: 1200

extract_graph:
  completion_model_id: default_completion_model
  prompt: "prompts/extract_graph.txt"   # the prompt
  entity_types: [organization,person,geo,event]
  max_gleanings: 1

### another comment
community_reports:
  graph_prompt: "prompts/community_report_graph.txt"
"""
CHANGES = {
    "extract_graph.prompt": "prompts/tuned/extract_graph.txt",
    "extract_graph.entity_types": ["person", 'a "b": c', "cost in $"],
    "summarize_descriptions.prompt": "prompts/tuned/summarize_descriptions.txt",
    "community_reports.graph_prompt": "prompts/tuned/community_report_graph.txt",
}


def test_comments_and_the_rest_are_kept() -> None:
    found = changed_settings(Path("settings.yaml"), INIT, CHANGES)
    expected = (
        INIT.replace('"prompts/extract_graph.txt"', '"prompts/tuned/extract_graph.txt"')
        .replace("[organization,person,geo,event]", '["person", "a \\"b\\": c", "cost in $$"]')
        .replace(
            '"prompts/community_report_graph.txt"', '"prompts/tuned/community_report_graph.txt"'
        )
    )
    assert found == (
        expected
        + '\nsummarize_descriptions:\n  prompt: "prompts/tuned/summarize_descriptions.txt"\n'
    )
    assert changed_settings(Path("settings.yaml"), found, {}) == found


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("extract_graph:\n", 'extract_graph:\n  prompt: "p"\n'),
        ("extract_graph:  # nothing\nx: 1\n", 'extract_graph:  # nothing\n  prompt: "p"\nx: 1\n'),
        ("extract_graph:\n    a: 1", 'extract_graph:\n    prompt: "p"\n    a: 1'),
        ("extract_graph:\n  prompt:\n  a: 1\n", 'extract_graph:\n  prompt: "p"\n  a: 1\n'),
        ("extract_graph:\n  prompt: >\n    x\n    y\n  a: 1\n", None),
        ("", '\nextract_graph:\n  prompt: "p"\n'),
        ("a: 1", 'a: 1\n\nextract_graph:\n  prompt: "p"\n'),
    ],
)
def test_every_form_of_a_section(before: str, after: str | None) -> None:
    text = before or "a: 1\n"
    if not before:
        after = f"a: 1\n{after}"
    found = changed_settings(Path("settings.yaml"), text, {"extract_graph.prompt": "p"})
    if after is not None:
        assert found == after
    assert yaml.safe_load(found)["extract_graph"]["prompt"] == "p"


def test_a_list_of_lines_is_replaced() -> None:
    text = "extract_graph:\n  entity_types:\n    - a\n    - b  # the last\n  # kept\n  max: 1\n"
    found = changed_settings(Path("settings.yaml"), text, {"extract_graph.entity_types": ["x"]})
    assert found == ('extract_graph:\n  entity_types:\n    ["x"]  # the last\n  # kept\n  max: 1\n')


def test_a_list_that_begins_where_its_key_does_is_replaced() -> None:
    """As PyYAML writes lists."""
    text = "extract_graph:\n  entity_types:  # ours\n  - a\n  - b\n  max: 1\n"
    found = changed_settings(Path("settings.yaml"), text, {"extract_graph.entity_types": ["x"]})
    assert found == 'extract_graph:\n  entity_types:  # ours\n    ["x"]\n  max: 1\n'


def test_what_cannot_be_changed_safely_is_left_to_the_user() -> None:
    for text in ("extract_graph: {a: 1}\n", "x: &x {a: 1}\nextract_graph: *x\n"):
        with pytest.raises(ConfigError, match="changed safely") as caught:
            changed_settings(Path("settings.yaml"), text, {"extract_graph.prompt": "p"})
        assert 'extract_graph.prompt: "p"' in str(caught.value)


def test_json_settings() -> None:
    text = json.dumps({"extract_graph": {"prompt": "a", "b": 1}, "c": 2})
    found = json.loads(changed_settings(Path("settings.json"), text, CHANGES))
    assert found["extract_graph"]["prompt"] == "prompts/tuned/extract_graph.txt"
    assert found["extract_graph"]["b"] == 1 and found["c"] == 2


def test_files_are_found_as_graphrag_finds_them(tmp_path: Path) -> None:
    assert find_settings(tmp_path) is None
    for name in ("settings.json", "settings.yml", "settings.yaml"):
        (tmp_path / name).write_text("{}")
        assert find_settings(tmp_path) == tmp_path / name
    (tmp_path / "settings.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path / "settings.yaml")
    (tmp_path / "settings.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="no mapping"):
        read_settings(tmp_path / "settings.yaml")
