"""Prompts of LightRAG (1.4.8 and later): entries of its `lightrag.prompt.PROMPTS`, as JSON.

LightRAG formats the examples, then both parts of the extraction prompt, with
{tuple_delimiter}, {completion_delimiter}, {entity_types}, {examples} and {language}; the text that
is read, {input_text}, is in the user's part, where every such version puts it in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cuecard.graphrag.prompts.filling import escaped, filled, lined
from cuecard.graphrag.prompts.sources import ExtractionExample, PromptSources
from cuecard.graphrag.records import Relation

FILE = "lightrag_prompts.json"

SYSTEM, USER = "entity_extraction_system_prompt", "entity_extraction_user_prompt"
EXAMPLES, SUMMARY = "entity_extraction_examples", "summarize_entity_descriptions"

_FIELD, _COMPLETE = "{tuple_delimiter}", "{completion_delimiter}"

_SYSTEM = """\
# Task
You build a knowledge graph of texts about [[domain]]. Find the entities in a text that belong to \
one of these types, and how they are connected.
Types: {entity_types}

# Steps
1. Write a line with four fields for each entity of these types that the text names:
entity[[field]]NAME[[field]]TYPE[[field]]DESCRIPTION
NAME is its name as the text has it; one entity has one name. TYPE is one of the types above. \
DESCRIPTION says in {language} what the text tells about it.
2. Write a line with five fields for each pair of these entities that the text clearly connects:
relation[[field]]SOURCE[[field]]TARGET[[field]]KEYWORDS[[field]]DESCRIPTION
SOURCE and TARGET are names of entities, exactly as in step 1. KEYWORDS are one to three words \
with commas between them, for the kind of connection. DESCRIPTION says in {language} how they are \
connected.
3. Entities come before relations. Write nothing that the text does not say. After the last line \
write [[complete]]

# Examples
{examples}
"""
_USER = """\
Find the entities and relations in this text. Write the lines alone, and {completion_delimiter} \
after them.

# Text
{input_text}
# Output
"""
_EXAMPLE = """\
# Text
[[text]]
# Output
[[lines]]
[[complete]]

"""
_SUMMARY = """\
[[persona]]

# Task
Below are descriptions of one {description_type} from several texts about [[domain]]. Write one \
description of it in {language}, with at most {summary_length} tokens:
- Keep every fact, and say it once.
- Where descriptions contradict each other, say what can be said with certainty.
- Write in the third person, and use the name.
- Add nothing that is not in the descriptions.

# Data
{description_type}: {description_name}
Descriptions:
{description_list}

# Output
"""


def lightrag_prompts(sources: PromptSources) -> str:
    """The file's content, with `entity_types` and `language` beside the prompts."""
    marks = {"field": _FIELD, "complete": _COMPLETE}
    domain = escaped(lined(sources.profile.domain))
    persona = escaped(lined(sources.profile.persona))
    found = {
        "entity_types": list(sources.types),
        "language": sources.profile.language,
        "PROMPTS": {
            SYSTEM: filled(_SYSTEM, domain=domain, **marks),
            USER: _USER,
            EXAMPLES: [_example(each) for each in sources.examples],
            SUMMARY: filled(_SUMMARY, domain=domain, persona=persona),
        },
    }
    return json.dumps(found, ensure_ascii=False, indent=2) + "\n"


def _example(example: ExtractionExample) -> str:
    found = example.extraction
    lines = [_line("entity", each.name, each.type, each.description) for each in found.entities]
    lines += [_relation(each) for each in found.relations]
    return filled(_EXAMPLE, text=escaped(example.text), lines="\n".join(lines), complete=_COMPLETE)


def _relation(relation: Relation) -> str:
    keywords = relation.type or "related"
    return _line("relation", relation.source, relation.target, keywords, relation.description)


def _line(kind: str, *fields: str) -> str:
    """A line of fields, none of which holds what could be taken for a delimiter."""
    return _FIELD.join([kind, *(escaped(_cleaned(field)) for field in fields)])


def _cleaned(text: str) -> str:
    return lined(text.replace("<|", " ").replace("|>", " "))


def dry_format(content: str, types: Sequence[str] = ("person",), text: str = "TEXT") -> str:
    """The extraction prompt as LightRAG formats it for a text, both parts.

    Raises:
        KeyError, ValueError, IndexError: what LightRAG would raise.
    """
    found = json.loads(content)
    prompts, language = found["PROMPTS"], found["language"]
    base = {
        "tuple_delimiter": "<|#|>",
        "completion_delimiter": "<|COMPLETE|>",
        "entity_types": ",".join(types),
        "language": language,
    }
    base["examples"] = "\n".join(prompts[EXAMPLES]).format(**base)
    system = prompts[SYSTEM].format(**base)
    user = prompts[USER].format(**base, input_text=text)
    prompts[SUMMARY].format(
        description_type="Entity",
        description_name="NAME",
        description_list="[]",
        summary_length=500,
        language=language,
    )
    return f"{system}\n{user}"
