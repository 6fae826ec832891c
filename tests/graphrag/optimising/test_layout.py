"""Where prompts have their instruction, types and examples."""

from __future__ import annotations

import pytest

from cuecard.errors import ConfigError
from cuecard.graphrag.answers import read_json, tuples_of
from cuecard.graphrag.measuring.prompts import ExtractionPrompt, check_template, generic_prompt
from cuecard.graphrag.optimising.layout import PromptLayout
from cuecard.graphrag.prompts.slots import EXTRACTION, faults_in
from cuecard.graphrag.records import Entity, Extraction

TUNED = """\
# Task
You read {{sets}} of rules. Find what is connected.
Types: clause, party

# Steps
1. Write ("entity"<|>NAME<|>TYPE<|>DESCRIPTION)
2. Then <|COMPLETE|>

# Example 1: text
Ann pays.
# Example 1: output
("entity"<|>Ann<|>party<|>pays)##<|COMPLETE|>

# Text
{input_text}
# Output
"""
BARE = "Answer with JSON: {{}}\nText: {input_text}\nJSON:"
# GraphRAG's own, in short.
OWN = """
-Goal-
Given a text document, identify all entities.

-Steps-
1. Types: [{entity_types}]
######################
-Examples-
######################
Example 1:
Entity_types: ORGANIZATION
######################
-Real Data-
######################
Entity_types: {entity_types}
Text: {input_text}
######################
Output:"""
SHOWN = [("A {text}", Extraction((Entity("Bob {B}", "party", "x"),)))]


def layout(template: str, form: str = "tuples") -> PromptLayout:
    return PromptLayout.of(ExtractionPrompt("p", template, form))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "instruction", "examples"),
    [
        (TUNED, "You read {sets} of rules. Find what is connected.", "# Example 1: text\nAnn"),
        (BARE, "", ""),
        (
            OWN.replace("\n\n", "\n \n"),
            "Given a text document, identify all entities.",
            "-Examples-\n####",
        ),
        (generic_prompt().template, "Given a text document that may be", "-Examples-\n####"),
    ],
)
def test_the_parts_of_a_prompt(template: str, instruction: str, examples: str) -> None:
    found = layout(template)
    assert found.instruction.startswith(instruction) and bool(found.instruction) == bool(
        instruction
    )
    assert found.examples.startswith(examples) and bool(found.examples) == bool(examples)
    assert "{input_text}" in found.data
    assert found.template(found.instruction, (), ()) == template


@pytest.mark.parametrize("template", [TUNED, BARE, OWN])
def test_another_instruction_and_other_examples(template: str) -> None:
    found = layout(template, "json" if template == BARE else "tuples")
    made = found.template("Be {careful}.", SHOWN, ["party", "a {type}"])
    check_template(made, "made")
    text = made.format(input_text="HERE", entity_types="T")
    assert "Be {careful}." in text and "connected." not in text and "Given a text" not in text
    assert "A {text}" in text and "Bob {B}" in text and text.count("HERE") == 1
    assert "Ann pays." not in text and "ORGANIZATION" not in text
    assert text.index("Be {careful}") < text.index("Bob {B}") < text.index("HERE")
    if template == BARE:
        answer = next(line for line in text.splitlines() if line.startswith('{"entities"'))
        assert read_json(answer).extraction == SHOWN[0][1]
        assert text.endswith("Text: HERE\nJSON:")
    else:
        assert tuples_of(SHOWN[0][1]) in text
        assert text.endswith("# Output\n" if template == TUNED else "Output:")
    if template == TUNED:
        assert "Types: clause, party" in text and "\n\n# Steps\n1." in text


def test_an_instruction_that_is_gone() -> None:
    text = layout(TUNED).template("", (), ())
    assert text.startswith("# Task\n\nTypes: clause, party") and "Ann pays." in text


def test_types_in_their_place() -> None:
    prompt = ExtractionPrompt("p", "{entity_types} {{x}} {{{entity_types}}} {input_text}", "tuples")
    made = prompt.with_types(["a", "{b}"])
    assert made.template == "a,{{b}} {{x}} {{a,{{b}}}} {input_text}"
    asked = made.request("T", (), 5).messages[0].content
    assert (
        asked == "a,{b} {x} {a,{b}} T" == prompt.request("T", ["a", "{b}"], 5).messages[0].content
    )
    with pytest.raises(ConfigError):
        ExtractionPrompt("p", "{x}", "tuples")


def test_what_is_made_of_a_good_prompt_is_one() -> None:
    made = PromptLayout.of(generic_prompt()).template("Be {careful}.", SHOWN, ["party"])
    assert faults_in(made, EXTRACTION) == []
