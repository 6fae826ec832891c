"""An engine is used in this process, without a server: as docs/serving-engine.md shows it."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.evaluation.embedding import embed
from cuecard.types import Record
from support.data.pairs import SPEC as PAIRS
from support.data.reviews import SPEC as REVIEWS
from support.tiny import tiny_backbone, tiny_encoder

PAGE = Path(__file__).parents[2] / "docs" / "serving-engine.md"
RECORD = Record({"text": "warm and funny"}, None)


def run_snippet(heading: str, **given: Any) -> dict[str, Any]:
    """Run the first Python under a heading; the names that it leaves."""
    (source,) = re.findall(
        rf"^{heading}\n.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    code = compile(source, PAGE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names: dict[str, Any] = {"record": RECORD, **given}
    asyncio.run(eval(code, names))  # noqa: S307 - our own page
    return names


def make_prompt(backbone: Any, spec: Any) -> Prompt:
    return Prompt.create(
        torch.randn(4, backbone.hidden_size, generator=torch.Generator().manual_seed(1)),
        backbone=backbone,
        spec=spec,
        method="prompt-tuning",
        method_config={"length": 4},
        slot="prefix",
        seed=1,
    )


def test_a_causal_model_scores_and_generates() -> None:
    backbone = tiny_backbone()
    prompt = make_prompt(backbone, REVIEWS)
    found = run_snippet("# The local engine", backbone=backbone, prompt=prompt)
    bound = prompt.bind(backbone)
    (expected,) = bound.predict([RECORD])
    assert found["scores"] == pytest.approx(list(expected.scores.values()), abs=1e-4)
    row = found["row"]
    injection = prompt.injection()
    assert found["tokens"] == backbone.generate([row.context], [row.placement], injection, 16)[0]


def test_an_encoder_embeds() -> None:
    encoder = tiny_encoder()
    prompt = make_prompt(encoder, PAIRS)
    found = run_snippet("## Masked models and encoders", encoder=encoder, prompt=prompt)
    for vector, injection in zip(found["vectors"], (prompt.injection(), None), strict=True):
        (expected,) = embed(encoder, PAIRS, ["warm and funny"], injection)
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=0)
