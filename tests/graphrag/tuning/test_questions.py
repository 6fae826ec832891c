"""What a tuning asks an LLM."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest

from cuecard.engine.json_grammar import GrammarCompiler
from cuecard.graphrag.prompts.sources import CorpusProfile
from cuecard.graphrag.tuning.questions import (
    EXAMPLE_TOKENS,
    PROFILE_TOKENS,
    TYPES_TOKENS,
    example_request,
    repair_request,
)
from cuecard.runs.graphrag.measure_recipe import MeasureRecipe
from cuecard.serving.settings import Limits
from support.tiny import tiny_tokenizer


def test_our_own_server_writes_answers_as_long_as_they_may_be() -> None:
    measured = MeasureRecipe.model_fields["max_tokens"].default
    most = max(EXAMPLE_TOKENS, PROFILE_TOKENS, TYPES_TOKENS, measured)
    assert most <= Limits().max_new_tokens


@pytest.mark.anyio
async def test_an_example_is_held_to_the_types_and_to_one_entity_at_least() -> None:
    types = ("person", 'a "place"')
    request = example_request(CorpusProfile(), types, "Ann met Bo in York.", 9)
    assert request.schema is not None
    schema = json.loads(request.schema)
    await GrammarCompiler(tiny_tokenizer()).compile(schema)
    ann = {"name": "Ann", "type": "person", "description": "Met Bo"}
    met = {"source": "Ann", "target": "Bo", "type": "met", "description": "Ann met Bo", "weight": 3}
    allowed = jsonschema_rs.validator_for(schema)
    assert allowed.is_valid({"entities": [ann], "relationships": [met]})
    for entities, relationships in (
        ([], []),
        ([ann | {"type": "place"}], []),
        ([ann | {"name": ""}], []),
        ([ann] * 30, []),
        ([ann], [met | {"weight": 11}]),
        ([ann], [met] * 30),
    ):
        assert not allowed.is_valid({"entities": entities, "relationships": relationships})
    again = repair_request(request, "nothing", "It is empty.")
    assert again.schema == request.schema and len(again.messages) > len(request.messages)
