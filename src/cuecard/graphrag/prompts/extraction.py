"""The prompt that finds entities and relationships, in each dialect's form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from cuecard.graphrag.answers import json_of, tuples_of
from cuecard.graphrag.answers.tuples import COMPLETE, FIELD, RECORD
from cuecard.graphrag.prompts.filling import escaped, filled, lined
from cuecard.graphrag.prompts.sources import ExtractionExample, PromptSources
from cuecard.graphrag.records import Extraction

_TUPLES = """\
# Task
You build a knowledge graph of texts about [[domain]]. Find the entities in the text below that \
belong to one of these types, and how they are connected.
Types: [[types]]

# Steps
1. Write a record for each entity of these types that the text names:
("entity"[[field]]NAME[[field]]TYPE[[field]]DESCRIPTION)
NAME is its name as the text has it; one entity has one name.
TYPE is one of the types above, as it is written there.
DESCRIPTION says in [[language]] what the text tells about it.
2. Write a record for each pair of these entities that the text clearly connects:
("relationship"[[field]]SOURCE[[field]]TARGET[[field]]DESCRIPTION[[field]]STRENGTH)
SOURCE and TARGET are names of entities, exactly as in step 1.
DESCRIPTION says in [[language]] how they are connected.
STRENGTH is a whole number from 1 (loosely) to 10 (closely).
3. Put [[record]] between records. Write nothing that the text does not say. After the last record \
write [[complete]]

[[examples]]# Text
[[text]]
# Output
"""

_JSON = """\
Find entities and relationships in the text, which is about [[domain]]. Answer with JSON only.
Types of entities: [[types]]
Form: [[form]]
Names are as in the text. Descriptions are short, in [[language]]. Weight: 1 to 10.

[[examples]]# Text
[[text]]
# Output
"""
_FORM = json.dumps(
    {
        "entities": [{"name": "...", "type": "...", "description": "..."}],
        "relationships": [{"source": "...", "target": "...", "description": "...", "weight": 5}],
    }
)

_EXAMPLE = """\
# Example [[number]]: text
[[text]]
# Example [[number]]: output
[[answer]]

"""


@dataclass(frozen=True)
class ExtractionForm:
    """How an extraction prompt is written.

    Attributes:
        template: with [[slots]].
        answer: an extraction as an answer in this form.
        text: what stands for the text that is read.
        formatted: whether `str.format` is called on the prompt, so that braces are doubled.
        field, record, complete: delimiters, as the prompt has them.
    """

    template: str
    answer: Callable[[Extraction], str]
    text: str = "{input_text}"
    formatted: bool = True
    field: str = FIELD
    record: str = RECORD
    complete: str = COMPLETE

    def written(self, text: str) -> str:
        """A text of the corpus or of an LLM, as it stands in the prompt."""
        return escaped(text) if self.formatted else text

    def example(self, number: int, example: ExtractionExample) -> str:
        """An example's text and answer."""
        answer = self.written(self.answer(example.extraction))
        # Within fields the delimiters are escaped, so that these are the answer's own.
        for mark, written in (
            (COMPLETE, self.complete),
            (FIELD, self.field),
            (RECORD, self.record),
        ):
            answer = answer.replace(mark, written)
        text = self.written(example.text)
        return filled(_EXAMPLE, number=str(number), text=text, answer=answer)

    def prompt(self, sources: PromptSources, examples: str) -> str:
        """The prompt.

        Args:
            examples: each as `example` writes it.
        """
        return filled(
            self.template,
            domain=self.written(lined(sources.profile.domain)),
            language=self.written(lined(sources.profile.language)),
            types=self.written(", ".join(sources.types)),
            field=self.field,
            record=self.record,
            complete=self.complete,
            form=self.written(_FORM),
            examples=examples,
            text=self.text,
        )


TUPLES = ExtractionForm(_TUPLES, tuples_of)
OLD_TUPLES = ExtractionForm(
    _TUPLES,
    tuples_of,
    field="{tuple_delimiter}",
    record="{record_delimiter}",
    complete="{completion_delimiter}",
)
PLAIN_TUPLES = ExtractionForm(_TUPLES, tuples_of, text="", formatted=False)
JSON = ExtractionForm(_JSON, json_of)
PLAIN_JSON = ExtractionForm(_JSON, json_of, text="", formatted=False)


@dataclass(frozen=True)
class FittedPrompt:
    """A prompt, and how many of its examples had room in it."""

    text: str
    examples: int


def fitted(
    form: ExtractionForm, sources: PromptSources, most: int, count: Callable[[str], int]
) -> FittedPrompt:
    """The prompt with as many examples as fit, the first of them always.

    Args:
        most: tokens of the prompt.
        count: a text's tokens.
    """
    left = most - count(form.prompt(sources, ""))
    kept: list[str] = []
    for example in sources.examples:
        text = form.example(len(kept) + 1, example)
        tokens = count(text)
        if kept and tokens > left:
            continue  # a shorter one may fit
        kept.append(text)
        left -= tokens
    return FittedPrompt(form.prompt(sources, "".join(kept)), len(kept))
