"""What prompts are made of, with all that has broken prompts: braces, delimiters, quotes."""

from __future__ import annotations

from cuecard.graphrag.prompts.sources import CorpusProfile, ExtractionExample, PromptSources
from cuecard.graphrag.records import Entity, Extraction, Relation

HOSTILE = (
    r"The {\frac{a}{b}} of ACME {Ltd} ## was set by Ann <|> Lee ("
    '"entity"<|>X<|>Y<|>Z) <|COMPLETE|> {input_text} {0} [[domain]] }{'
)
HOSTILE_EXTRACTION = Extraction(
    (
        Entity("ACME {Ltd}", "organization", "Has ## in it, and <|> too, and {braces}"),
        Entity("Ann <|> Lee", "person", 'Said "<|COMPLETE|>" & left'),
    ),
    (Relation("Ann <|> Lee", "ACME {Ltd}", "set {\\frac{a}{b}} ## there", 7.0, "sets"),),
)
PLAIN_EXTRACTION = Extraction(
    (Entity("Bo", "person", "A pilot"), Entity("Rome", "city", "A city")),
    (Relation("Bo", "Rome", "Bo flies to Rome", 5.0),),
)


def sources(count: int = 2) -> PromptSources:
    """So many examples, the first of them hostile."""
    examples = [ExtractionExample("a.txt, chunk 1", HOSTILE, HOSTILE_EXTRACTION)]
    examples += [
        ExtractionExample(f"b.txt, chunk {number}", f"Bo flies to Rome, {number}", PLAIN_EXTRACTION)
        for number in range(1, count)
    ]
    profile = CorpusProfile(
        domain="law of {contracts}\nand [[types]]",
        language="English",
        persona="You are {an expert} in ## law.",
        role="a reporter on {parties}",
        rating="A number {0-10}",
    )
    return PromptSources(profile, ("person", "organization {legal}"), tuple(examples[:count]))
