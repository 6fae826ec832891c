"""Extraction prompts that are measured: files as GraphRAG 3.x formats them, and a generic one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter
from typing import Literal

from cuecard.errors import ConfigError, FileError
from cuecard.graphrag.answers import FORMS, AnswerForm, Form
from cuecard.graphrag.answers.tuples import FIELD
from cuecard.graphrag.prompts.filling import escaped
from cuecard.graphrag.prompts.slots import EXTRACTION, faults_in
from cuecard.llms.protocol import LLMMessage, LLMRequest

(TEXT,), (TYPES,) = EXTRACTION.needed, EXTRACTION.allowed
"""What GraphRAG 3.x puts into an extraction prompt."""

GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class ExtractionPrompt:
    """An extraction prompt.

    Attributes:
        name: what reports call it.
        template: with {input_text}, {entity_types} if it likes, and doubled braces.
        form: how answers are written.

    Raises:
        ConfigError: GraphRAG could not format it.
    """

    name: str
    template: str
    form: Form

    def __post_init__(self) -> None:
        check_template(self.template, self.name)

    @property
    def answers(self) -> AnswerForm:
        """How answers are read."""
        return FORMS[self.form]

    @property
    def takes_types(self) -> bool:
        """Whether it is told which types there are."""
        return TYPES in {name for _, name, _, _ in Formatter().parse(self.template)}

    def request(
        self,
        text: str,
        types: Sequence[str],
        max_tokens: int,
        temperature: float = 0.0,
        sample: int = 0,
    ) -> LLMRequest:
        """What GraphRAG asks for a text: the formatted prompt, as a user's only message."""
        asked = self.template.format(**{TEXT: text.strip(), TYPES: ",".join(types)})
        return LLMRequest((LLMMessage("user", asked),), max_tokens, temperature, sample)

    def with_types(self, types: Sequence[str]) -> ExtractionPrompt:
        """The same with the types in their place, so that a project's settings do not matter."""
        parts = []
        for literal, name, _, _ in Formatter().parse(self.template):
            filled = {None: "", TEXT: f"{{{TEXT}}}", TYPES: escaped(",".join(types))}[name]
            parts.append(escaped(literal) + filled)
        return replace(self, template="".join(parts))


def check_template(template: str, where: str) -> None:
    """Refuse what GraphRAG could not format, or what shows the model no text.

    Raises:
        ConfigError: one of these.
    """
    # One that is for JSON, or for a model that was trained to extract, shows no delimiters.
    faults = faults_in(template, replace(EXTRACTION, marks=()))
    if faults:
        raise ConfigError(
            "GraphRAG cannot use this prompt",
            where=where,
            got="; ".join(faults)[:300],
            expected=f"{{{TEXT}}} in it, {{{TYPES}}} where it likes, every other brace doubled",
        )


def read_prompt(
    path: str | Path, name: str = "", form: Form | Literal["auto"] = "auto"
) -> ExtractionPrompt:
    """Read a prompt's file.

    Args:
        name: by default the file's, without its ending.
        form: how answers are written; auto: in tuples where the prompt has GraphRAG's delimiter,
            else in JSON where it has that word, else in tuples.

    Raises:
        ConfigError: GraphRAG could not format it.
        FileError: it cannot be read.
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        raise FileError.of(error, "the prompt cannot be read", path) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the prompt is not UTF-8", where=str(path), got=error.reason) from error
    if form == "auto":
        form = "json" if FIELD not in text and "json" in text.casefold() else "tuples"
    return ExtractionPrompt(name or place.stem, text, form)


def generic_prompt() -> ExtractionPrompt:
    """A prompt for any corpus: the steps, the form and the kind of examples of GraphRAG's own."""
    return ExtractionPrompt(GENERIC, _GENERIC, "tuples")


_GENERIC = """\
-Goal-
Given a text document that may be relevant to this activity and a list of entity types, identify \
all entities of those types in the text and all relationships among the identified entities.

-Steps-
1. Identify all entities. For each identified entity, extract the following information:
- entity_name: name of the entity, capitalized
- entity_type: one of the following types: [{entity_types}]
- entity_description: comprehensive description of the entity's attributes and activities
Format each entity as ("entity"<|><entity_name><|><entity_type><|><entity_description>)

2. From the entities identified in step 1, identify all pairs of (source_entity, target_entity) \
that are clearly related to each other. For each pair, extract the following information:
- source_entity: name of the source entity, as identified in step 1
- target_entity: name of the target entity, as identified in step 1
- relationship_description: explanation why the two entities are related to each other
- relationship_strength: a number from 1 to 10 for the strength of the relationship
Format each relationship as ("relationship"<|><source_entity><|><target_entity>\
<|><relationship_description><|><relationship_strength>)

3. Return the output in English as a single list of all the entities and relationships of steps 1 \
and 2. Use ## as the list delimiter.

4. When finished, output <|COMPLETE|>

-Examples-
######################
Example 1:
Entity_types: ORGANIZATION,PERSON
Text:
The board of Larkfield Rail meets on Tuesday. Its chair, Ines Moreau, is expected to approve the \
purchase of forty trains from Stadtwerk.
######################
Output:
("entity"<|>LARKFIELD RAIL<|>ORGANIZATION<|>Larkfield Rail is a railway whose board meets on \
Tuesday)
##
("entity"<|>INES MOREAU<|>PERSON<|>Ines Moreau chairs the board of Larkfield Rail)
##
("entity"<|>STADTWERK<|>ORGANIZATION<|>Stadtwerk is a maker of trains)
##
("relationship"<|>INES MOREAU<|>LARKFIELD RAIL<|>Ines Moreau chairs the board of Larkfield Rail<|>9)
##
("relationship"<|>LARKFIELD RAIL<|>STADTWERK<|>Larkfield Rail is to buy forty trains from \
Stadtwerk<|>7)
##
<|COMPLETE|>
######################
Example 2:
Entity_types: GEO,EVENT
Text:
Heavy rain flooded the old harbour of Port Amsel last night, and the Lantern Festival was called \
off.
######################
Output:
("entity"<|>PORT AMSEL<|>GEO<|>Port Amsel is a town whose old harbour was flooded)
##
("entity"<|>LANTERN FESTIVAL<|>EVENT<|>The Lantern Festival in Port Amsel was called off because \
of heavy rain)
##
("relationship"<|>LANTERN FESTIVAL<|>PORT AMSEL<|>The Lantern Festival was to take place in Port \
Amsel<|>8)
##
<|COMPLETE|>
######################

-Real Data-
######################
Entity_types: {entity_types}
Text: {input_text}
######################
Output:"""
