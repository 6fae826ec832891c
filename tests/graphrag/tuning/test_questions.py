"""What a tuning asks an LLM."""

from __future__ import annotations

from cuecard.graphrag.tuning.questions import EXAMPLE_TOKENS, PROFILE_TOKENS, TYPES_TOKENS
from cuecard.runs.graphrag.measure_recipe import MeasureRecipe
from cuecard.serving.settings import Limits


def test_our_own_server_writes_answers_as_long_as_they_may_be() -> None:
    measured = MeasureRecipe.model_fields["max_tokens"].default
    most = max(EXAMPLE_TOKENS, PROFILE_TOKENS, TYPES_TOKENS, measured)
    assert most <= Limits().max_new_tokens
