from __future__ import annotations

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import METHODS, PromptTuning
from cuecard.types import InitContext
from support.init_context import TABLE, context


def vectors(config: PromptTuning, of: InitContext | None = None) -> torch.Tensor:
    return config.build(of or context()).injection().vectors.detach()


def rows_in_table(made: torch.Tensor) -> list[int]:
    found = [(row == TABLE).all(1).nonzero().flatten().tolist() for row in made]
    assert all(len(ids) == 1 for ids in found)
    return [ids[0] for ids in found]


def test_random_has_the_tables_rms() -> None:
    made = vectors(PromptTuning(length=1000, init="random"))
    ratio = made.pow(2).mean().sqrt() / TABLE.pow(2).mean().sqrt()
    assert made.shape == (1000, 8) and abs(float(ratio) - 1) < 0.05


def test_xavier_is_uniform_within_the_tables_bound() -> None:
    made = vectors(PromptTuning(length=1000, init="xavier"))
    bound = (6 / sum(TABLE.shape)) ** 0.5
    assert 0.99 * bound < float(made.abs().max()) <= bound
    assert abs(float(made.std()) / (bound / 3**0.5) - 1) < 0.05


def test_vocabulary_samples_without_replacement_and_without_special_tokens() -> None:
    ids = rows_in_table(vectors(PromptTuning(length=297, init="vocabulary")))
    assert sorted(ids) == list(range(3, 300))


def test_text_is_repeated_or_cut_to_the_length() -> None:
    assert rows_in_table(vectors(PromptTuning(init="text", text="hey"))) == [104, 101, 121]
    assert rows_in_table(vectors(PromptTuning(length=5, text="hey"))) == [104, 101, 121, 104, 101]
    assert rows_in_table(vectors(PromptTuning(length=2, text="hey"))) == [104, 101]
    assert rows_in_table(vectors(PromptTuning(init="text"))) == [97, 98, 99]


def test_labels_are_means_of_their_tokens() -> None:
    made = vectors(PromptTuning(length=4, init="labels"))
    assert torch.equal(made[0], (TABLE[5] + TABLE[6]) / 2)
    assert torch.equal(made[1], TABLE[7])
    assert len(rows_in_table(made[2:])) == 2


def test_a_prompt_is_taken_over_and_filled_up() -> None:
    start = torch.randn(3, 8)
    assert torch.equal(vectors(PromptTuning(init="prompt", prompt=start)), start)
    longer = vectors(PromptTuning(length=5, init="prompt", prompt=start))
    assert torch.equal(longer[:3], start) and len(rows_in_table(longer[3:])) == 2
    assert torch.equal(vectors(PromptTuning(length=2, init="prompt", prompt=start)), start[:2])


@pytest.mark.parametrize("init", ["random", "vocabulary", "labels", "xavier"])
def test_the_generator_alone_decides(init: str) -> None:
    config = METHODS["prompt-tuning"](length=6, init=init)
    torch.manual_seed(1)
    first = vectors(config, context(3))
    torch.manual_seed(2)
    assert torch.equal(vectors(config, context(3)), first)
    assert not torch.equal(vectors(config, context(4)), first)


def test_the_table_is_not_shared() -> None:
    method = PromptTuning(init="text", text="a").build(context())
    with torch.no_grad():
        method.vectors.add_(1)
    assert not torch.equal(TABLE[97], method.vectors[0])


@pytest.mark.parametrize("length", [1, 1000])
def test_lengths_from_one_to_a_thousand(length: int) -> None:
    assert vectors(PromptTuning(length=length, init="random")).shape == (length, 8)


@pytest.mark.parametrize("length", [0, 1001, -3])
def test_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="length"):
        PromptTuning(length=length)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="do not go together"):
        PromptTuning(init="random", text="a")
    with pytest.raises(ConfigError, match="do not go together"):
        PromptTuning(init="prompt")
    with pytest.raises(ConfigError, match="has no tokens"):
        vectors(PromptTuning(init="text", text=""))
    with pytest.raises(ConfigError, match="too long"):
        vectors(PromptTuning(init="text", text="x" * 1001))
    with pytest.raises(ConfigError, match="needs a task with labels"):
        vectors(PromptTuning(init="labels"), context(labels=()))
    with pytest.raises(ConfigError, match="does not fit"):
        vectors(PromptTuning(init="prompt", prompt=torch.zeros(2, 9)))
    with pytest.raises(ConfigError, match="patches of training images"):
        vectors(PromptTuning(init="patches"))
    with pytest.raises(ConfigError, match="vipamin_k is a setting of the init vipamin"):
        PromptTuning(init="patches", vipamin_k=3)
    with pytest.raises(ConfigError, match="projection_lr is a setting of a projection"):
        PromptTuning(fourier=0.5, projection_lr=0.01)
    with pytest.raises(ConfigError, match="patches is a setting of the init patches"):
        PromptTuning(init="text", patches="k-means")
    with pytest.raises(ConfigError, match="smaller than the prompt"):
        vectors(PromptTuning(length=298, init="vocabulary"))
