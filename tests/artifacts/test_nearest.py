"""Nearest words against the plain formula."""

from __future__ import annotations

import pytest
import torch

from cuecard.artifacts import nearest
from cuecard.artifacts.nearest import nearest_words
from cuecard.backbones import CausalBackbone
from cuecard.errors import ConfigError


@pytest.mark.parametrize("rows", [7, 100, 10_000])
def test_against_the_formula(
    backbone: CausalBackbone,
    vectors: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
) -> None:
    monkeypatch.setattr(nearest, "_ROWS", rows)
    found = nearest_words(vectors, backbone, 5)
    table = backbone.embeddings.double()
    cosines = torch.nn.functional.cosine_similarity(vectors.double()[:, None], table[None], dim=-1)
    best = cosines.topk(5, dim=1)
    typical = table.square().sum(1).mean().sqrt()
    assert len(found) == len(vectors)
    for i, one in enumerate(found):
        assert one.norm == pytest.approx(float(vectors[i].norm()))
        assert one.relative_norm == pytest.approx(float(vectors[i].double().norm() / typical))
        assert [value for _, value in one.words] == pytest.approx(best.values[i].tolist(), abs=1e-5)
        texts = [backbone.tokenizer.decode([token]) for token in best.indices[i].tolist()]
        assert [text for text, _ in one.words] == texts


def test_a_words_own_vector_is_its_nearest(backbone: CausalBackbone) -> None:
    ids = [50, 383]
    found = nearest_words(backbone.embeddings[ids] * 2, backbone, 1)
    for token, one in zip(ids, found, strict=True):
        ((text, cosine),) = one.words
        assert text == backbone.tokenizer.decode([token])
        assert cosine == pytest.approx(1.0)


def test_a_zero_vector_is_near_to_nothing(backbone: CausalBackbone) -> None:
    (one,) = nearest_words(torch.zeros(1, 32), backbone, 2)
    assert one.norm == 0.0 and [value for _, value in one.words] == [0.0, 0.0]


@pytest.mark.parametrize(("shape", "count"), [((2, 31), 1), ((32,), 1), ((2, 32), 0)])
def test_what_has_no_words(backbone: CausalBackbone, shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(ConfigError, match="cannot be compared"):
        nearest_words(torch.zeros(shape), backbone, count)
