"""Answers to extraction prompts: what is taken from them, and what is wrong with them."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from cuecard.graphrag.answers import (
    FORMS,
    Form,
    json_of,
    read_json,
    read_tuples,
    tuples_of,
    tuples_of_json,
)
from cuecard.graphrag.records import Entity, Extraction, Relation

ANN = Entity("Ann", "PERSON", "A judge")
ACME = Entity("Acme", "ORG", "A firm")
SUES = Relation("Ann", "Acme", "Ann sues Acme", 8.0)
CASE = Extraction((ANN, ACME), (SUES,))
TEXT = (
    '("entity"<|>Ann<|>PERSON<|>A judge)\n##\n("entity"<|>Acme<|>ORG<|>A firm)\n##\n'
    '("relationship"<|>Ann<|>Acme<|>Ann sues Acme<|>8)\n##\n<|COMPLETE|>'
)
ODD = (
    Entity('Bob "The ## Rock" <|> Smith', "A|B", "says (he) <|COMPLETE|> #1"),
    Entity("AT&T", "C#", "<b> &amp; R&D; a < b > c"),
    Entity("(Paren)", "x", "{brace} \\ 'quote'"),
    Entity("東京 ###", "場所", "#hash at both ends#"),
)


def graphrag(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """`GraphExtractor._process_result` of GraphRAG 3.1, without pandas."""

    def clean(value: str) -> str:
        return re.sub(r"[\x00-\x1f\x7f-\x9f]", "", html.unescape(value.strip()))

    entities, relations = [], []
    for raw in [r.strip() for r in text.split("##")]:
        record = re.sub(r"^\(|\)$", "", raw.strip())
        if not record or record == "<|COMPLETE|>":
            continue
        parts = record.split("<|>")
        if parts[0] == '"entity"' and len(parts) >= 4:
            entities.append(
                {
                    "title": clean(parts[1].upper()),
                    "type": clean(parts[2].upper()),
                    "description": clean(parts[3]),
                }
            )
        if parts[0] == '"relationship"' and len(parts) >= 5:
            try:
                weight = float(parts[-1])
            except ValueError:
                weight = 1.0
            relations.append(
                {
                    "source": clean(parts[1].upper()),
                    "target": clean(parts[2].upper()),
                    "description": clean(parts[3]),
                    "weight": weight,
                }
            )
    return entities, relations


def whats(text: str, form: Form = "tuples", types: tuple[str, ...] = ()) -> list[str]:
    return [f"{f.record} {f.what}" for f in FORMS[form].read(text, types).faults]


def test_an_answer_in_tuples() -> None:
    assert read_tuples(TEXT, ["person", "Org"]) == read_tuples(TEXT)
    found = read_tuples(TEXT)
    assert found.extraction == CASE
    assert found.faults == ()
    assert tuples_of(CASE) == TEXT


def test_the_marker_right_after_the_last_record_leaves_its_weight() -> None:
    text = TEXT.replace("\n##\n<|COMPLETE|>", "\n<|COMPLETE|>")
    assert read_tuples(text).extraction == CASE
    assert graphrag(text)[1][0]["weight"] == 1.0
    assert graphrag(TEXT)[1][0]["weight"] == 8.0


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_again(form: Form) -> None:
    relation = Relation(ODD[0].name, ODD[1].name, "a ## b <|> c\nd", 2.5)
    odd = Extraction(ODD, (relation,))
    found = FORMS[form].read(FORMS[form].write(odd), ())
    one_line = Relation(ODD[0].name, ODD[1].name, "a ## b <|> c d", 2.5)
    assert found.extraction == Extraction(ODD, (one_line,))
    assert found.faults == ()


def test_graphrag_reads_what_is_written() -> None:
    relation = Relation(ODD[0].name, ODD[3].name, "x", 3.0)
    entities, relations = graphrag(tuples_of(Extraction(ODD, (relation,))))
    assert [each["title"] for each in entities] == [each.name.upper() for each in ODD]
    assert [each["description"] for each in entities] == [each.description for each in ODD]
    assert relations[0]["source"] == ODD[0].name.upper()
    assert relations[0]["weight"] == 3.0


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["0 no completion marker"]),
        ("I cannot do that.", ["1 neither an entity nor a relationship", "0 no completion marker"]),
        (TEXT.removesuffix("\n##\n<|COMPLETE|>"), ["0 no completion marker"]),
        (TEXT + " Anything else?", ["0 text after the completion marker"]),
        ('Sure:\n("entity"<|>A<|>B<|>C)<|COMPLETE|>', ["1 neither an entity nor a relationship"]),
        ('("entity"<|>A<|>B)##<|COMPLETE|>', ["1 too few fields"]),
        ('("entity"<|> <|>B<|>C)##<|COMPLETE|>', ["1 no name"]),
        ('"entity"<|>A<|>B<|>C<|COMPLETE|>', ["1 not in parentheses"]),
        (
            '("entity"<|>A<|>B<|>C)\n("entity"<|>D<|>E<|>F)<|COMPLETE|>',
            ["1 too many fields"],
        ),
        (
            '("entity"<|>A<|>B<|>C)##("relationship"<|>a<|>Z<|>D<|>strong)<|COMPLETE|>',
            ["2 the weight is not a number", "2 a relation to an entity that is not there"],
        ),
    ],
)
def test_what_is_wrong_with_an_answer_in_tuples(text: str, faults: list[str]) -> None:
    assert whats(text) == faults
    # What is taken is what GraphRAG takes, but for entities without a name.
    entities, relations = graphrag(text.replace("<|COMPLETE|>", "##<|COMPLETE|>"))
    found = read_tuples(text).extraction
    named = [each["title"] for each in entities if each["title"]]
    assert [each.name.upper() for each in found.entities] == named
    assert [each.weight for each in found.relations] == [each["weight"] for each in relations]


def test_unknown_types_are_told_and_kept() -> None:
    found = read_tuples(TEXT, ["person", "event"])
    assert [str(fault) for fault in found.faults] == ["record 2: an unknown type: 'ORG'"]
    assert found.extraction == CASE
    assert whats('("entity"<|>A<|>used_for  x<|>C)##<|COMPLETE|>', types=("Used-For X",)) == []


def test_an_answer_in_json() -> None:
    text = json_of(CASE)
    assert read_json(text).extraction == CASE
    assert read_json(f"```json\n{text}\n```").faults == ()
    assert tuples_of_json(text) == TEXT
    typed = Extraction((ANN, ACME), (Relation("Ann", "Acme", "", 1.0, "sues"),))
    assert read_json(json_of(typed)).extraction == typed


def test_one_list_with_the_names_of_graphrags_json_prompt() -> None:
    text = (
        '[{"name": "Ann", "type": "PERSON", "description": "A judge"}, {"source": "Ann", "target":'
        ' "Acme", "relationship": "Ann sues Acme", "relationship_strength": 8}]'
    )
    found = read_json(text)
    assert found.extraction == Extraction((ANN,), (SUES,))
    assert [f.what for f in found.faults] == ["a relation to an entity that is not there"]


@pytest.mark.parametrize("cut", range(1, 160, 7))
def test_of_json_that_stops_in_the_middle_whole_records_are_taken(cut: int) -> None:
    text = json_of(CASE)
    found = read_json(text[:-cut])
    assert found.faults[-1].what == "not JSON"
    whole = [each for each in CASE.entities if f'"{each.description}"}}' in text[:-cut]]
    assert list(found.extraction.entities) == whole


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("nothing", ["0 not JSON"]),
        ("", ["0 not JSON"]),
        ('"a text"', ["0 neither an object nor a list"]),
        ("{}", ["0 no list of entities", "0 no list of relationships"]),
        ('{"entities": {}, "relationships": []}', ["0 no list of entities"]),
        ('[7, {"x": 1}]', [f"{n} neither an entity nor a relationship" for n in (1, 2)]),
        ('[{"name": "A", "type": 3, "description": ""}]', ["1 no type"]),
        ('[{"name": "", "type": "T"}]', ["1 no name", "1 no description"]),
        ('[{"source": "A", "target": null, "description": "", "weight": 1}]', ["1 no target"]),
        ('Here: {"entities": [], "relationships": []}', ["0 not JSON"]),
        ("[" * 100_000, ["0 not JSON"]),
    ],
)
def test_what_is_wrong_with_an_answer_in_json(text: str, faults: list[str]) -> None:
    assert whats(text, "json") == faults
