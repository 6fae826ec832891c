"""What an LLM is asked about a corpus; every request is a chat of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cuecard.graphrag.prompts.filling import filled, lined
from cuecard.graphrag.prompts.sources import CorpusProfile
from cuecard.llms.protocol import LLMMessage, LLMRequest

# Asked for at least so many types, small models look for more than one.
_FEW = 3

PROFILE_TOKENS, TYPES_TOKENS, EXAMPLE_TOKENS = 600, 250, 1200
"""Of answers, at most."""

_PROFILE = """\
Below are excerpts of a collection of texts.

[[excerpts]]

Describe the collection. Answer with one JSON object and nothing else; its values are texts:
"domain": what the collection is about, in a few words[[domain]]
"language": the language of most of the texts, by its English name[[language]]
"persona": two or three sentences to an expert who will read such texts, beginning with "You are"
"role": who would report on groups of connected entities to people who need to know, and for what; \
a phrase that fits after "You are"
"rating": one or two sentences on what makes a group of entities important in this domain, from 0 \
(trivial) to 10 (essential)"""

_TYPES = """\
Below are excerpts of texts about [[domain]].

[[excerpts]]

Which types of entities do such texts name? A type is what many names have in common: "person" \
is one, "Ada" is not. Each is one to three words in English, in the singular, in small letters. No \
two of them overlap, and none is as vague as "other" or "thing". Name [[many]], the most frequent \
first.
Answer with one JSON object and nothing else: {"entity_types": ["...", "..."]}"""

_EXAMPLE = """\
Find the entities and relationships in the text.

Entities are of one of these types: [[types]]
List every entity of these types that the text names. Names are exactly as the text has them. A \
relationship connects two of the entities that you list. Descriptions are short, in [[language]], \
and say only what the text says. "type" of a relationship is one to three words for the kind of \
connection; "weight" is from 1 (loose) to 10 (close).
Answer with one JSON object and nothing else. Of another text, with the types animal and place, \
"Two otters from Lake Tarn were seen near Skelby." the answer is:
[[form]]

# Text
[[text]]"""
_FORM = json.dumps(
    {
        "entities": [
            {"name": "otters", "type": "animal", "description": "Two were seen near Skelby"},
            {"name": "Lake Tarn", "type": "place", "description": "Where the otters are from"},
            {"name": "Skelby", "type": "place", "description": "Otters were seen near it"},
        ],
        "relationships": [
            {
                "source": "otters",
                "target": "Lake Tarn",
                "type": "come from",
                "description": "The otters are from Lake Tarn",
                "weight": 8,
            },
            {
                "source": "otters",
                "target": "Skelby",
                "type": "seen near",
                "description": "The otters were seen near Skelby",
                "weight": 6,
            },
        ],
    }
)
# Of an answer about a text: what it has at least, and for each of the text's tokens.
_LEAST, _EACH = 200, 10

_REPAIR = """\
Your answer cannot be used: [[reason]]
Answer once more, in the form that was asked for and with nothing else."""

# Of a constrained answer: characters of its texts; tokens of the text for an entity, and most of
# them.
_NAME, _KIND, _DESCRIPTION, _EVERY, _RECORDS = 80, 40, 160, 5, 24

_EXCERPT = "--- excerpt [[number]] ---\n[[text]]"


def profile_request(
    excerpts: Sequence[str], domain: str | None = None, language: str | None = None
) -> LLMRequest:
    """Asks what the corpus is.

    Args:
        domain, language: those that are given.
    """
    known = {
        name: f" (it is: {lined(value)})" if value else ""
        for name, value in {"domain": domain, "language": language}.items()
    }
    return _asked(filled(_PROFILE, excerpts=_joined(excerpts), **known), PROFILE_TOKENS)


def types_request(profile: CorpusProfile, excerpts: Sequence[str], most: int) -> LLMRequest:
    """Asks for types of entities, so many at most."""
    many = f"three to {most}" if most > _FEW else f"at most {most}"
    text = filled(_TYPES, domain=lined(profile.domain), excerpts=_joined(excerpts), many=many)
    return _asked(text, TYPES_TOKENS, profile.persona)


def example_request(
    profile: CorpusProfile, types: Sequence[str], text: str, tokens: int
) -> LLMRequest:
    """Asks what is in a text.

    Args:
        tokens: of the text; the answer may be so much longer, since weak models repeat themselves.
    """
    asked = filled(
        _EXAMPLE, types=", ".join(types), language=lined(profile.language), form=_FORM, text=text
    )
    most = min(EXAMPLE_TOKENS, _LEAST + _EACH * tokens)
    schema = json.dumps(_example_schema(types, tokens), ensure_ascii=False)
    return replace(_asked(asked, most, profile.persona), schema=schema)


def repair_request(request: LLMRequest, answer: str, reason: str) -> LLMRequest:
    """The same again, with the answer that could not be read and what is wrong with it."""
    more = (
        LLMMessage("assistant", answer or "(nothing)"),
        LLMMessage("user", filled(_REPAIR, reason=reason)),
    )
    return replace(request, messages=(*request.messages, *more))


def _asked(text: str, tokens: int, persona: str = "") -> LLMRequest:
    system = (LLMMessage("system", lined(persona)),) if persona else ()
    return LLMRequest((*system, LLMMessage("user", text)), tokens)


def _object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object that has all of these and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def _example_schema(types: Sequence[str], tokens: int) -> dict[str, Any]:
    """Of what is in a text: small models invent types, and find nothing where it is allowed.

    Args:
        tokens: of the text. What stops nowhere, a small model repeats until it is cut off.
    """
    most = min(max(tokens // _EVERY, _FEW), _RECORDS)
    name, kind, description = map(_text, (_NAME, _KIND, _DESCRIPTION))
    weight = {"type": "integer", "enum": [*range(1, 11)]}
    entity = _object(name=name, type={"enum": [*types]}, description=description)
    relation = _object(source=name, target=name, type=kind, description=description, weight=weight)
    return _object(
        entities={"type": "array", "items": entity, "minItems": 1, "maxItems": most},
        relationships={"type": "array", "items": relation, "maxItems": (most + 1) // 2},
    )


def _text(most: int) -> dict[str, Any]:
    """The schema of a text in a line; a pattern, since OpenAI takes no maxLength."""
    return {"type": "string", "pattern": f"^.{{1,{most}}}$"}


def _joined(excerpts: Sequence[str]) -> str:
    return "\n\n".join(
        filled(_EXCERPT, number=str(number), text=text) for number, text in enumerate(excerpts, 1)
    )
