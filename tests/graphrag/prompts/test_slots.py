"""What GraphRAG's own formatting would stop at is found in a prompt, with its line."""

from __future__ import annotations

import pytest

from cuecard.graphrag.prompts.slots import (
    EXTRACTION,
    GRAPHRAG_2,
    REPORT,
    SUMMARY,
    PromptSlot,
    faults_in,
)

GOOD = 'Find ("entity"<|>NAME) ## {{a}} in {input_text} of {entity_types}\n<|COMPLETE|>'
OLD_EXTRACTION = next(slot for slot in GRAPHRAG_2 if slot.section == "extract_graph")


@pytest.mark.parametrize(
    ("prompt", "slot", "expected"),
    [
        (GOOD, EXTRACTION, []),
        ("", EXTRACTION, ["it is empty"]),
        (GOOD.replace("{input_text}", ""), EXTRACTION, ["{input_text} is missing"]),
        (GOOD.replace("##", "#"), EXTRACTION, ["does not show the delimiter ##"]),
        (GOOD.replace("<|COMPLETE|>", ""), EXTRACTION, ["delimiter <|COMPLETE|>"]),
        (GOOD.replace("{{a}}", "{a}"), EXTRACTION, ["{a} in line 1 is no placeholder"]),
        (GOOD.replace("{{a}}", "{}"), EXTRACTION, ["{} in line 1 is no placeholder"]),
        (f"one\ntwo }} three\n{GOOD}", EXTRACTION, ["not doubled, in line 2"]),
        (f"one\ntwo\n{{ three {GOOD}", EXTRACTION, ["not doubled, in line 3"]),
        (f'one\n{{"title": 1}}\n{GOOD}', EXTRACTION, ['{"title": 1} in line 2 is no placeholder']),
        (f"{GOOD} {{tuple_delimiter}}", EXTRACTION, ["GraphRAG 3 has its delimiters"]),
        (f"{GOOD} {{tuple_delimiter}}", OLD_EXTRACTION, []),
        (GOOD.replace("<|>", "{tuple_delimiter}"), OLD_EXTRACTION, []),
        (GOOD.replace("{input_text}", "{input_text!r}"), EXTRACTION, ["a format of its own"]),
        (GOOD.replace("{input_text}", "{input_text:5}"), EXTRACTION, ["a format of its own"]),
        ("{entity_name}: {description_list}", SUMMARY, []),
        ("{entity_name}: {descriptions}", SUMMARY, ["{descriptions}", "{description_list} is"]),
        ("{input_text} in {max_report_length} words", REPORT, []),
        ("{input_text} {entity_types}", REPORT, ["{entity_types} in line 1 is no placeholder"]),
    ],
)
def test_faults(prompt: str, slot: PromptSlot, expected: list[str]) -> None:
    found = faults_in(prompt, slot)
    assert len(found) == len(expected), found
    assert all(part in fault for part, fault in zip(expected, found, strict=True)), found
    if not expected:
        values = dict.fromkeys((*slot.needed, *slot.allowed), "x")
        prompt.format(**values)
    elif not any("missing" in each or "delimiter" in each for each in found) and prompt:
        values = dict.fromkeys((*slot.needed, *slot.allowed), "x")
        own_format = any("of its own" in each for each in found)
        if not own_format:
            with pytest.raises((KeyError, ValueError, IndexError)):
                prompt.format(**values)
