"""Answers are read strictly: what is kept can be trusted, and what is not kept is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cuecard.graphrag.tuning.entity_types import TypeCount, merged_types, singular
from cuecard.graphrag.tuning.reading import (
    UnreadableAnswer,
    read_example,
    read_profile,
    read_types,
)
from support.scripted_graphrag import PROFILE

TEXT = "Ann Lee commands the Aurora, a ship of {Ltd}. Bo left."


@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "```\n{}\n```", "<think>x</think>\n{}"])
def test_a_profile_in_its_forms(form: str) -> None:
    found = read_profile(form.replace("{}", json.dumps(PROFILE)))
    assert found.to_dict() == PROFILE


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I am a language model.", "not one JSON object"),
        (f"Sure! {json.dumps(PROFILE)}", "not one JSON object"),
        (json.dumps(PROFILE)[:-5], "not one JSON object"),
        ("[]", "not a JSON object"),
        (json.dumps({**PROFILE, "role": ""}), '"role" is missing'),
        (json.dumps({**PROFILE, "role": ["a"]}), '"role" is missing or is not a text'),
        (json.dumps({**PROFILE, "language": "x" * 41}), '"language" is longer than 40'),
    ],
)
def test_what_is_no_profile(answer: str, expected: str) -> None:
    with pytest.raises(UnreadableAnswer, match=expected):
        read_profile(answer)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["Ship", "sea_port", "  Legal-Case ", "other", "N/A"], ["ship", "sea port", "legal case"]),
        (["\u8239", "\u043f\u0435\u0440\u0441\u043e\u043d\u0430"], None),
        ("ship", None),
        (["ship", 3], None),
        (["other"], None),
        (["a type that is told in a whole sentence, which no type is"], None),
        (None, None),
    ],
)
def test_types(types: Any, expected: list[str] | None) -> None:
    answer = json.dumps({"entity_types": types})
    if isinstance(types, list) and "\u8239" in types:
        assert read_types(answer) == types
    elif expected is None:
        with pytest.raises(UnreadableAnswer):
            read_types(answer)
    else:
        assert read_types(answer) == expected


def test_a_domain_instead_of_types_is_too_few() -> None:
    answer = json.dumps({"entity_types": ["Military Operations", "military operations", "other"]})
    assert read_types(answer) == ["military operations", "military operations"]
    with pytest.raises(UnreadableAnswer, match=r"too few types .*'military operations'"):
        read_types(answer, 2)


def example(entities: list[Any], relationships: list[Any] | None = None) -> str:
    return json.dumps({"entities": entities, "relationships": relationships or []})


def entity(name: str, kind: str = "person") -> dict[str, str]:
    return {"name": name, "type": kind, "description": "d"}


def relation(source: str, target: str) -> dict[str, object]:
    return {"source": source, "target": target, "type": "t", "description": "d", "weight": 3}


def test_an_example_keeps_what_stands_in_the_text() -> None:
    answer = example(
        [
            entity("ann lee"),
            entity("Aurora", "Merchant_Ship"),
            entity("Boreas", "merchant ship"),  # not in the text
            entity("Bo", "sailor"),  # of no type
            {"name": "", "type": "person", "description": "d"},
        ],
        [relation("Ann Lee", "Aurora"), relation("Ann Lee", "Boreas")],
    )
    found = read_example(answer, TEXT, ("person", "merchant ship"))
    assert [(each.name, each.type) for each in found.extraction.entities] == [
        ("ann lee", "person"),
        ("Aurora", "merchant ship"),
    ]
    assert [(each.source, each.target) for each in found.extraction.relations] == [
        ("Ann Lee", "Aurora")
    ]
    form, *left_out = found.notes
    assert form.startswith("record 5: no name")
    assert left_out == [
        "left out: 'Boreas' is not in the text",
        "left out: 'Bo' is of no given type: 'sailor'",
        "left out: 'Ann Lee' and 'Boreas' are not both among the entities",
    ]


def test_a_model_that_goes_round_in_circles_does_not_teach_it() -> None:
    pairs = [("Ann Lee", "Bo"), ("Ann Lee", "Boreas"), ("ann lee", "Bo"), ("Bo", "Ann Lee")] * 2
    answer = example([entity("Ann Lee"), entity("Bo")], [relation(*pair) for pair in pairs])
    found = read_example(answer, TEXT, ("person",))
    kept = [(each.source, each.target) for each in found.extraction.relations]
    assert kept == [("Ann Lee", "Bo"), ("Bo", "Ann Lee")]
    told = "left out: 'Ann Lee' and 'Boreas' are not both among the entities (2 times)"
    assert found.notes == (told,)


@pytest.mark.parametrize("cut", [1, 2])
def test_brackets_that_are_missing_at_the_end_are_added(cut: int) -> None:
    text = "Ann [of {Tarn} sails."
    entity = {"name": "Ann", "type": "person", "description": 'of " [ Tarn'}
    answer = json.dumps({"relationships": [], "entities": [entity]})
    whole = read_example(answer, text, ("person",))
    assert read_example(answer[:-cut], text, ("person",)) == whole
    assert read_example(f"```json\n{answer[:-cut]}\n```", text, ("person",)) == whole
    with pytest.raises(UnreadableAnswer):
        read_example(answer[:-12], text, ("person",))


def test_a_weight_that_is_none_is_told_and_counts_as_one() -> None:
    bare = {**relation("Ann Lee", "Bo"), "weight": "strong"}
    answer = example([entity("Ann Lee"), entity("Bo")], [bare])
    found = read_example(answer, TEXT, ("person",))
    assert [each.weight for each in found.extraction.relations] == [1.0]
    assert len(found.notes) == 1 and "the weight is not a number" in found.notes[0]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", "not in the form"),
        ("nothing here", "not in the form: not JSON"),
        (example([entity("Ann Lee")])[:-4], "not in the form: not JSON"),
        ('{"entities": []}', "no list of relationships"),
        (example([]), "No entity"),
        (example([entity("Zed")]), "No entity .* 'Zed' is not in the text"),
        (example([entity("Ann Lee", "god")]), "No entity .* 'god'"),
    ],
)
def test_what_is_no_example(answer: str, expected: str) -> None:
    with pytest.raises(UnreadableAnswer, match=expected):
        read_example(answer, TEXT, ("person",))


def test_types_are_merged_and_counted() -> None:
    found = [["ship", "person", "port"], ["ships", "city", "ships"], ["cities", "person"]]
    assert merged_types((), found, 3) == (
        TypeCount("ship", False, 2),
        TypeCount("city", False, 2),
        TypeCount("person", False, 2),
    )
    assert merged_types(("Legal Case", "PERSON", "persons"), found, 3) == (
        TypeCount("Legal Case", True, 0),
        TypeCount("PERSON", True, 2),
        TypeCount("ship", False, 2),
    )
    assert [each.name for each in merged_types(("a b", "c"), found, 1)] == ["a b", "c"]
    assert [each.name for each in merged_types(("\u8239", "!!"), [], 9)] == ["\u8239", "!!"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("organizations", "organization"),
        ("cities", "city"),
        ("churches", "church"),
        ("boxes", "box"),
        ("classes", "class"),
        ("news", "news"),
        ("status", "status"),
        ("analysis", "analysis"),
        ("gas", "gas"),
        ("legal cases", "legal case"),
    ],
)
def test_singulars(name: str, expected: str) -> None:
    assert singular(name) == expected
