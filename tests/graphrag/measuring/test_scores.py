"""Scores of extractions, with values worked out by hand."""

from __future__ import annotations

import pytest

from cuecard.graphrag.answers import read_tuples, tuples_of
from cuecard.graphrag.gold import GoldText
from cuecard.graphrag.measuring.matching import Match, overlap, words_of
from cuecard.graphrag.measuring.scores import ExtractionScores, all_scores
from cuecard.graphrag.measuring.signals import SignalShares, agreement, signals_of
from cuecard.graphrag.records import Entity, Extraction, Relation


def extraction(entities: str, *relations: tuple[str, str] | tuple[str, str, str]) -> Extraction:
    """Entities as "Name:Type, ..."."""
    pairs = [each.split(":") for each in entities.split(", ") if each]
    return Extraction(
        tuple(Entity(name, kind) for name, kind in pairs),
        tuple(Relation(a, b, type=kind[0] if kind else "") for a, b, *kind in relations),
    )


def gold(document: str, *parts: object) -> GoldText:
    return GoldText("text", extraction(*parts), 1, document)  # type: ignore[arg-type]


TEXTS = [
    gold("1", "Ann Lee:Person, Acme:Org, Rome:Place", ("Ann Lee", "Acme", "sues")),
    gold("1", "Bob:Person"),
    gold("2", "Oslo:Place, Acme Corp:Org", ("Acme Corp", "Oslo", "is in")),
]
ANSWERS = [
    # Right: Ann Lee (another case). Wrong: Acme (its type). Overlaps: "the city of Rome".
    extraction(
        "ANN LEE:person, ann lee:Person, Acme:Place, the city of Rome:Place",
        ("Ann Lee", "Acme"),
    ),
    extraction(""),
    # Right: Oslo. Overlaps: "Acme". Its relation runs the other way.
    extraction("Oslo:Place, Acme:Org", ("Oslo", "Acme Corp")),
]


@pytest.mark.parametrize(
    ("what", "match", "right", "found", "there"),
    [
        # 3 names in the first answer (one twice), 2 in the last; 6 of gold.
        ("entities", "strict", 2, 5, 6),
        # "the city of Rome" and "Acme" (for "Acme Corp") too.
        ("entities", "relaxed", 4, 5, 6),
        ("relations", "strict", 1, 2, 2),
        ("relations", "relaxed", 2, 2, 2),
    ],
)
def test_scores_by_hand(what: str, match: Match, right: int, found: int, there: int) -> None:
    scores = all_scores(TEXTS, ANSWERS)[what, match]  # type: ignore[index]
    told = scores.to_dict(0)
    assert told["counts"] == {"right": right, "found": found, "there": there}
    assert told["precision"] == pytest.approx(right / found)
    assert told["recall"] == pytest.approx(right / there)
    assert told["f1"] == pytest.approx(2 * right / (found + there))
    for name, interval in told["ci95"].items():
        assert interval.low <= told[name] <= interval.high and interval.low < interval.high
    assert len(scores.rows) == 2  # texts of one document are one


def test_scores_by_type() -> None:
    found = all_scores(TEXTS, ANSWERS)["entities", "strict"].to_dict(0)["by_type"]
    # Persons: 1 of 2, nothing else found; places: 1 of 2, 3 found.
    half = {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "true": 2}
    assert found["person"] == half
    assert found["place"] == {"precision": 1 / 3, "recall": 0.5, "f1": 0.4, "true": 2}
    assert found["org"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "true": 2}
    # Without types in the answers, recall alone is known.
    relations = all_scores(TEXTS, ANSWERS)["relations", "strict"].to_dict(0)["by_type"]
    assert relations["sues"] == {"precision": None, "recall": 1.0, "f1": None, "true": 1}


def test_a_type_that_an_answer_gives_must_be_right() -> None:
    text = gold("1", "A:T, B:T", ("A", "B", "sues"))
    for kind, right in (("Sues", 1), ("likes", 0)):
        scores = all_scores([text], [extraction("", ("A", "B", kind))])
        assert scores["relations", "strict"].to_dict(0)["counts"]["right"] == right
        assert scores["relations", "relaxed"].to_dict(0)["counts"]["right"] == 1


def test_each_is_right_for_one_other() -> None:
    """Greedy pairing would take "Bank" for the first and leave "Bank of Rome" alone."""
    text = gold("1", "Bank of Rome:Org, Bank:Org")
    answer = extraction("Bank:Org, the Bank of Rome branch:Org, Bank Rome:Org")
    scores = ExtractionScores.of([text], [answer], "entities", "relaxed")
    assert scores.to_dict(0)["counts"] == {"right": 2, "found": 3, "there": 2}


def test_the_difference_of_two_prompts_is_paired() -> None:
    texts = [gold(str(n), "A:T, B:T, C:T") for n in range(30)]
    good = [extraction("A:T, B:T, C:T" if n % 10 else "A:T") for n in range(30)]
    poor = [extraction("A:T, B:T" if n % 10 else "A:T") for n in range(30)]
    one, other = (ExtractionScores.of(texts, x, "entities", "strict") for x in (good, poor))
    value = one.figure().value - other.figure().value
    assert value == pytest.approx(168 / (84 + 90) - 114 / (57 + 90))
    interval = one.figure().gain(other.figure(), 0)
    assert 0 < interval.low < value < interval.high
    same = one.figure().gain(one.figure(), 0)
    assert same.low < 0 < same.high


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("Rome", "city of Rome", True),
        ("O'Brien", "O 'Brien", True),
        ("Ann Lee", "Lee Ann", True),  # both words of two
        ("Ann Lee", "Ann May", False),  # one word of three
        ("Rome", "Romeo", False),
        ("C++", "Java", False),
        ("§", "§", True),
    ],
)
def test_names_that_overlap(one: str, other: str, found: bool) -> None:
    assert overlap(words_of(one), words_of(other)) is found
    assert overlap(words_of(other), words_of(one)) is found


def test_signals_without_gold() -> None:
    text = "Ann Lee sued Acme. The case was heard in Rome! Nobody came."
    answer = read_tuples(tuples_of(extraction("ANN LEE:P, Acme:O, Atlantis:L, acme:O")))
    found = signals_of(answer, text)
    assert (found.conforms, found.entities, found.grounded) == (True, 3, 2)
    assert found.grounding == pytest.approx(2 / 3)
    assert found.covered == pytest.approx(1 / 3)  # the first of three sentences
    assert found.score == pytest.approx(2 * (2 / 3) * (1 / 3) / (2 / 3 + 1 / 3))
    told = read_tuples(tuples_of(extraction("東京:L, 東海:L")))
    assert signals_of(told, "彼は東京に行く。雨だ。").covered == 0.5
    broken = signals_of(read_tuples("Ann Lee and Acme"), text)
    assert (broken.conforms, broken.empty, broken.score) == (False, True, 0.0)
    cut = tuples_of(extraction("ANN LEE:P, Acme:O, Atlantis:L")).removesuffix("<|COMPLETE|>")
    assert signals_of(read_tuples(cut), text).score == pytest.approx(found.score / 2)


def test_signals_of_many() -> None:
    answers = [read_tuples(tuples_of(extraction("Ann:P, Bob:P"))), read_tuples("none")]
    shares = SignalShares.of(answers, ["Ann met nobody.", "Bob."])
    told = shares.to_dict(0)
    assert (told["conformance"], told["empty"], told["grounding"]) == (0.5, 0.5, 0.5)
    assert told["entities_per_chunk"] == 1.0
    assert told["faults"] == {
        "neither an entity nor a relationship": 1,
        "no completion marker": 1,
    }
    other = SignalShares.of(answers[:1] * 2, ["Ann met nobody.", "Bob."])
    gain = other.figure("conformance").gain(shares.figure("conformance"), 0)
    assert gain.low < 0.5 < gain.high


def test_agreement_of_two_runs() -> None:
    first = [extraction("A:T, B:T"), extraction("C:T")]
    second = [extraction("A:T"), extraction("D:T, C:T")]
    assert agreement(first, second).figure().value == pytest.approx(2 * 2 / (3 + 3))
    assert agreement(first, first).figure().value == 1.0
