"""Saved prompts as words: what a search found, and what is nearest to vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.errors import ConfigError, CuecardWarning, WrongBackboneError
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.search.candidate import PromptCandidate
from cuecard.search.words.nearest_tokens import nearest_tokens, readable_tokens
from cuecard.search.words.saved_words import candidates_of, words_in_front
from cuecard.types import InputTokens, PrefixKV
from support.data.reviews import SPEC, review_task
from support.tiny import shared_backbone

BASE = PromptCandidate(ManualPrompt("start", SPEC.template, "Read it.\n\n"), "as it was")


def saved(injection: Any, spec: Any = SPEC, **about: Any) -> Prompt:
    return Prompt.create(
        injection,
        backbone=shared_backbone(),
        spec=spec,
        slot="prefix",
        method="x",
        method_config=about,
        data_hash="0" * 64,
        seed=0,
        metrics={},
    )


def test_vectors_become_the_words_nearest_to_them() -> None:
    backbone = shared_backbone()
    table, tokenizer = backbone.embeddings, backbone.tokenizer
    ids = [t for t in tokenizer.encode("the film is good") if t > 3]
    noise = 0.02 * table.std() * torch.randn(len(ids), 32, generator=torch.Generator())
    near = saved(InputTokens(table[ids] + noise))
    (found,) = candidates_of(near, BASE, backbone, "runs/x")  # and no warning
    assert found.prompt.instruction == "the film is good\n\n"
    assert found.origin == "nearest to runs/x by cosine"
    far = saved(InputTokens(torch.randn(5, 32, generator=torch.Generator().manual_seed(0))))
    with pytest.warns(CuecardWarning, match=r"5 vectors are far from them, at a mean cosine of 0"):
        found_far = candidates_of(far, BASE, backbone, "runs/y")
    assert 1 <= len(found_far) <= 2 and all(c.prompt.instruction.isascii() for c in found_far)
    with pytest.raises(WrongBackboneError):
        candidates_of(near, BASE, shared_backbone("llama", 1), "runs/x")


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_nearest_tokens(metric: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    table, vectors = torch.randn(40000, 4, generator=draw), torch.randn(3, 4, generator=draw)
    allowed = torch.rand(len(table), generator=draw) < 0.5
    found = nearest_tokens(vectors, table, allowed, metric)
    cosines = torch.cosine_similarity(vectors[:, None], table[None], dim=-1)
    scores = cosines if metric == "cosine" else -(vectors[:, None] - table).norm(dim=-1)
    wanted = scores.masked_fill(~allowed, -torch.inf).argmax(-1)
    assert list(found.ids) == wanted.tolist()
    assert found.cosines == pytest.approx([float(cosines[n, t]) for n, t in enumerate(wanted)])


def test_readable_tokens_are_ascii_or_known() -> None:
    tokenizer = shared_backbone().tokenizer
    plain = readable_tokens(tokenizer, 384)
    texts = [tokenizer.decode([int(t)]) for t in plain.nonzero().flatten()]
    assert "the" in "".join(texts) and all(t.isascii() and t.isprintable() for t in texts)
    assert not {"<s>", "</s>", "<|end|>", "<pad>"} & set(texts)


def test_words_that_a_search_found_are_those_before_every_record() -> None:
    backbone, shown = shared_backbone(), review_task(24).train[:2]
    prompt = replace(BASE.prompt, instruction="Use {x}.\n\n", demonstrations=shown)
    spec = prompt.to_spec(SPEC, backbone.tokenizer)
    nothing = InputTokens(torch.zeros(0, 32))
    parts = {"template": SPEC.template}
    words = words_in_front(saved(nothing, spec, parts=parts))
    assert words.startswith("Use {x}.\n\nReview: ") and words.count("Sentiment:") == 2
    assert spec.render(shown[0], backbone.tokenizer).startswith(words)
    # Without the record's own part, as older searches left it out: up to the first field.
    assert words_in_front(saved(nothing, spec)) == f"{words}Review: "
    (found,) = candidates_of(
        saved(nothing, spec, parts={"template": SPEC.template}), BASE, backbone, "x"
    )
    assert found.prompt.instruction.startswith("Use {x}.")
    assert candidates_of(saved(nothing, parts=parts), BASE, None, "x") == []


def test_what_has_no_words_is_refused() -> None:
    with pytest.raises(ConfigError, match="vectors have words near to them only among"):
        candidates_of(saved(InputTokens(torch.ones(1, 32))), BASE, None, "runs/x")
    keys_values = PrefixKV(torch.zeros(2, 2, 2, 3, 8))
    with pytest.raises(ConfigError, match="only vectors among the input embeddings have words"):
        candidates_of(saved(keys_values), BASE, shared_backbone(), "runs/x")
