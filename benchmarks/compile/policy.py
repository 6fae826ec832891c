"""A company's policy that nobody has read before: facts in sentences, and questions about each.

No model can know the facts, which are drawn by a seed, so that right answers come from the text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SUBJECTS = (
    *("business meals", "hotel nights", "train tickets", "taxi rides", "laptops", "phones"),
    *("headsets", "office chairs", "standing desks", "language courses", "conference visits"),
    *("certificates", "textbooks", "software licences", "team events", "visitor badges"),
    *("parking permits", "courier deliveries", "printed brochures", "translations", "photo shoots"),
    *("safety shoes", "eye tests", "flu vaccinations", "bicycle leases", "gym memberships"),
    *("moving costs", "home monitors", "mobile data plans", "customer gifts", "trade fair stands"),
    *("test devices", "relocation flights", "storage rooms", "reference letters", "sabbaticals"),
    *("childcare grants", "lost passports", "broken screens", "printer toner", "meeting rooms"),
    *("guest lunches", "press interviews", "patent filings", "overtime shifts", "unpaid leaves"),
    *("donation days", "desk plants"),
)
_PEOPLE = (
    *("Anna Weber", "Tom Hill", "Maria Lopez", "Jan Novak", "Lucy Grant", "Omar Haddad"),
    *("Ines Costa", "Paul Meyer", "Grace Kim", "Erik Lund", "Nora Walsh", "Ivan Petrov"),
)
_DESKS = ("travel", "people", "facility", "finance", "equipment", "training", "legal", "health")


@dataclass(frozen=True)
class Question:
    """A question about the policy, and the words that a right answer holds."""

    text: str
    answer: str


@dataclass(frozen=True)
class Policy:
    """The text, questions to learn from, and others, in other words, to test with."""

    text: str
    inputs: tuple[Question, ...]
    tests: tuple[Question, ...]


@dataclass(frozen=True)
class _Fact:
    sentence: str
    asked: tuple[str, str, str]
    answer: str


def made_policy(subjects: int = len(SUBJECTS), seed: int = 0) -> Policy:
    """Five facts about each of so many subjects; about 64 tokens a subject."""
    rng = random.Random(seed)
    sections: list[str] = ["# Company policy"]
    inputs: list[Question] = []
    tests: list[Question] = []
    for number, subject in enumerate(SUBJECTS[:subjects], 1):
        facts = _facts(subject, rng)
        sections.append(
            f"## {number}. {subject.capitalize()}\n" + " ".join(fact.sentence for fact in facts)
        )
        for fact in facts:
            *others, tested = (Question(text, fact.answer) for text in fact.asked)
            inputs += others
            tests.append(tested)
    learnt, asked = (tuple(rng.sample(each, len(each))) for each in (inputs, tests))
    return Policy("\n\n".join(sections), learnt, asked)


def _facts(subject: str, rng: random.Random) -> list[_Fact]:
    euros, days = str(5 * rng.randint(3, 99)), str(rng.randint(2, 29))
    person, desk, form = rng.choice(_PEOPLE), rng.choice(_DESKS), f"F-{rng.randint(100, 999)}"
    return [
        _Fact(
            f"The company pays up to {euros} euros for {subject}.",
            (
                f"Up to how many euros does the company pay for {subject}?",
                f"How much money is there at most for {subject}?",
                f"What is the limit in euros for {subject}?",
            ),
            euros,
        ),
        _Fact(
            f"{subject.capitalize()} are approved by {person}.",
            (
                f"By whom are {subject} approved?",
                f"Whose approval is needed for {subject}?",
                f"Who approves {subject}?",
            ),
            person,
        ),
        _Fact(
            f"They are asked for {days} days ahead.",
            (
                f"How many days ahead are {subject} asked for?",
                f"How early, in days, does one ask for {subject}?",
                f"How many days before are requests for {subject} due?",
            ),
            days,
        ),
        _Fact(
            f"The form for {subject} is {form}.",
            (
                f"What is the form for {subject}?",
                f"What is the number of the form for {subject}?",
                f"Which form is used for {subject}?",
            ),
            form,
        ),
        _Fact(
            f"Questions about {subject} go to the {desk} desk.",
            (
                f"Which desk answers questions about {subject}?",
                f"Where do questions about {subject} go?",
                f"To which desk does one turn about {subject}?",
            ),
            desk,
        ),
    ]
