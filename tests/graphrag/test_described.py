"""Descriptions for gold that has none."""

from __future__ import annotations

from cuecard.graphrag.described import described, type_words
from cuecard.graphrag.records import Entity, Extraction, Relation


def test_what_has_no_description_gets_one() -> None:
    found = described(
        Extraction(
            (Entity("Ann", "Peop"), Entity("Acme", "Org", "A firm"), Entity("x", "OtherTerm")),
            (
                Relation("Ann", "Acme", type="Work_For"),
                Relation("Acme", "Ann", "Acme pays Ann", 5.0, "pays"),
                Relation("Ann", "Acme"),
            ),
        )
    )
    assert [each.description for each in found.relations] == [
        "Ann work for Acme",
        "Acme pays Ann",
        "Ann is related to Acme",
    ]
    assert [each.description for each in found.entities] == [
        "Ann work for Acme; Acme pays Ann",
        "A firm",
        "other term",
    ]
    assert described(found) == found


def test_types_in_words() -> None:
    names = ("OtherScientificTerm", "Work_For", "Used-for", "ORG", "clause  type")
    assert [type_words(each) for each in names] == [
        "other scientific term",
        "work for",
        "used for",
        "org",
        "clause type",
    ]
