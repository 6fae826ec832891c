"""Prompts of every dialect can be formatted by their program, and their examples read by it."""

from __future__ import annotations

import json
import string

import pytest

from cuecard.errors import ConfigError
from cuecard.graphrag.answers import read_json, read_tuples
from cuecard.graphrag.prompts import lightrag
from cuecard.graphrag.prompts.dialects import DIALECTS, WEAK_FILE, PromptLimits, WrittenPrompts
from cuecard.graphrag.prompts.slots import GRAPHRAG_2, GRAPHRAG_3, faults_in
from support.graphrag_sources import HOSTILE, HOSTILE_EXTRACTION, PLAIN_EXTRACTION, sources

TEXT = "A new text with {braces} and ## marks."
OLD = {
    "tuple_delimiter": "<|>",
    "record_delimiter": "##",
    "completion_delimiter": "<|COMPLETE|>",
}


def written(name: str, weak: bool = False, most: int = 10_000, count: int = 2) -> WrittenPrompts:
    limits = PromptLimits(most, lambda text: len(text.split()), weak)
    return DIALECTS[name].write(sources(count), limits)


def between(text: str, begin: str, end: str) -> str:
    return text.split(begin, 1)[1].split(end, 1)[0].strip()


def placeholders(prompt: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(prompt) if name is not None}


@pytest.mark.parametrize(("name", "slots"), [("graphrag", GRAPHRAG_3), ("graphrag-2", GRAPHRAG_2)])
def test_graphrag_can_fill_its_prompts(name: str, slots: tuple[object, ...]) -> None:
    assert DIALECTS[name].slots == slots
    files = written(name).files
    assert list(files) == [
        "extract_graph.txt",
        "summarize_descriptions.txt",
        "community_report_graph.txt",
    ]
    by_file = {slot.file: slot for slot in DIALECTS[name].slots}
    for file, content in files.items():
        assert faults_in(content, by_file[file]) == []


def test_placeholders_are_those_of_each_version() -> None:
    now, old = written("graphrag").files, written("graphrag-2").files
    assert [placeholders(text) for text in now.values()] == [
        {"input_text"},
        {"entity_name", "description_list", "max_length"},
        {"input_text", "max_report_length"},
    ]
    assert [placeholders(text) for text in old.values()] == [
        {"input_text", *OLD},
        {"entity_name", "description_list"},
        {"input_text"},
    ]


@pytest.mark.parametrize(("name", "more"), [("graphrag", {}), ("graphrag-2", OLD)])
def test_texts_and_answers_of_examples_arrive_as_they_were(name: str, more: dict[str, str]) -> None:
    prompt = written(name).files["extract_graph.txt"].format(input_text=TEXT, **more)
    assert between(prompt, "# Example 1: text\n", "# Example 1: output") == HOSTILE
    found = read_tuples(between(prompt, "# Example 1: output\n", "# Example 2: text"))
    assert found.faults == ()
    assert found.extraction.entities == HOSTILE_EXTRACTION.entities
    (relation,) = found.extraction.relations
    assert (relation.source, relation.target) == ("Ann <|> Lee", "ACME {Ltd}")
    assert (relation.description, relation.weight) == ("set {\\frac{a}{b}} ## there", 7.0)
    assert between(prompt, "# Text\n", "# Output") == TEXT
    assert "law of {contracts} and [[types]]" in prompt
    assert "Types: person, organization {legal}" in prompt


def test_a_weak_models_prompt_is_shorter_and_asks_for_json() -> None:
    full, weak = written("graphrag"), written("graphrag", weak=True)
    assert next(iter(weak.files)) == WEAK_FILE
    assert "extract_graph.prompt" in full.settings and "extract_graph.prompt" not in weak.settings
    bare = [written("graphrag", flag, count=0) for flag in (False, True)]
    long, short = (len(next(iter(each.files.values()))) for each in bare)
    assert short < long / 2
    prompt = weak.files[WEAK_FILE].format(input_text=TEXT)
    answer = between(prompt, "# Example 1: output\n", "# Example 2: text")
    assert read_json(answer, (*sources().types, "organization")).faults == ()
    assert read_json(answer).extraction == HOSTILE_EXTRACTION
    assert between(prompt, "# Text\n", "# Output") == TEXT


@pytest.mark.parametrize("weak", [False, True])
def test_plain_text_is_not_formatted(weak: bool) -> None:
    (prompt,) = written("text", weak).files.values()
    assert HOSTILE in prompt and "{{" not in prompt
    assert prompt.endswith("# Text\n")


def test_lightrag_can_format_its_prompts() -> None:
    (content,) = written("lightrag").files.values()
    prompt = lightrag.dry_format(content, ["person", "organization"], TEXT)
    assert between(prompt, "# Text\n", "# Output") == HOSTILE
    lines = between(prompt, "# Output\n", "<|COMPLETE|>").splitlines()
    assert [(line.split("<|#|>")[0], line.count("<|#|>")) for line in lines] == [
        *[("entity", 3)] * len(HOSTILE_EXTRACTION.entities),
        *[("relation", 4)] * len(HOSTILE_EXTRACTION.relations),
    ]
    assert lines[-1].split("<|#|>")[1:4] == ["Ann > Lee", "ACME {Ltd}", "sets"]
    assert prompt.count(TEXT) == 1 and prompt.rstrip().endswith("# Output")
    assert "Types: person,organization" in prompt
    # The text is in the user's part alone: the system's part is the same for every text.
    assert placeholders(json.loads(content)["PROMPTS"][lightrag.SYSTEM]).isdisjoint({"input_text"})
    with pytest.raises(ConfigError, match="one form"):
        written("lightrag", weak=True)


def test_examples_are_kept_as_long_as_they_fit() -> None:
    bare = len(written("graphrag", count=0).files["extract_graph.txt"].split())
    one = written("graphrag", most=0, count=3)
    assert one.examples == 1  # the first always
    whole = written("graphrag", count=9)
    assert whole.examples == 9
    tight = written("graphrag", most=bare + 120, count=9)
    assert 1 < tight.examples < 9
    size = len(tight.files["extract_graph.txt"].split())
    assert size <= bare + 120
    text = tight.files["extract_graph.txt"].format(input_text="")
    assert f"# Example {tight.examples}: text" in text
    last = between(text, f"# Example {tight.examples}: output\n", "# Text")
    assert read_tuples(last).extraction.entities == PLAIN_EXTRACTION.entities
