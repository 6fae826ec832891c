"""The cost model against what torch counts in tiny backbones, and against published sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from cuecard.errors import BackboneError
from cuecard.planning.cost import StepCost, trained_numbers, weight_bytes
from cuecard.planning.shape import ModelShape
from support.published_configs import LLAMA_8B, LLAMA_70B
from support.tiny import tiny_model

ROWS, TOKENS = 3, 24


def counted(model: Any) -> tuple[int, int]:
    """FLOPs of a forward pass, and of a whole step to the gradient of the inputs."""
    model.requires_grad_(False)
    model.set_attn_implementation("eager")  # torch counts no fused attention on a CPU
    width = model.get_input_embeddings().embedding_dim
    inputs = torch.randn(ROWS, TOKENS, width, requires_grad=True)
    with FlopCounterMode(display=False) as forward:
        loss = model(inputs_embeds=inputs, use_cache=False).logits.sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert inputs.grad is not None
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


@pytest.mark.parametrize(
    "kind", ["llama", "qwen2", "qwen3", "gpt2", "opt", "mistral-sliding", "gemma2-softcap"]
)
def test_flops_are_what_torch_counts(kind: str) -> None:
    model = tiny_model(kind)
    cost = StepCost.of(ModelShape.of_model(model), ROWS, TOKENS, targets=TOKENS)
    forward, step = counted(model)
    assert cost.forward == pytest.approx(forward, rel=0.001)
    assert cost.step(recompute=False) == pytest.approx(step, rel=0.001)


def test_recomputed_layers_run_forward_twice() -> None:
    model = tiny_model("llama")
    model.activation_checkpointing_enable()
    model.train()
    cost = StepCost.of(ModelShape.of_model(model), ROWS, TOKENS, targets=TOKENS)
    with set_checkpoint_early_stop(False):  # or a layer's last product is left out
        _, step = counted(model)
    assert cost.step(recompute=True) == pytest.approx(step, rel=0.001)


def test_four_flops_per_weight_and_token() -> None:
    shape = ModelShape(64, 4, 8, 8, 8, 1000, 10**9, 10**9, 10**9)
    cost = StepCost.of(shape, 1, 100)
    assert cost.step(recompute=False) / (100 * 10**9) == pytest.approx(4, rel=0.001)


MIXTRAL = {**LLAMA_8B, "model_type": "mixtral", "vocab_size": 32000}
EXPERTS = {"num_local_experts": 8, "num_experts_per_tok": 2}


@pytest.mark.parametrize(
    ("config", "parameters", "active"),
    [
        # Their model cards: 8.03, 70.6, and 46.7 billion, of which 12.9 are active.
        (LLAMA_8B, 8_030_261_248, None),
        (LLAMA_70B, 70_553_706_496, None),
        ({**MIXTRAL, **EXPERTS}, 46_702_792_704, 12.9e9),
    ],
    ids=["Llama 3.1 8B", "Llama 3.1 70B", "Mixtral 8x7B"],
)
def test_sizes_of_published_models_by_their_configuration(
    config: dict[str, Any], parameters: int, active: float | None, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    shape = ModelShape.of(tmp_path)
    assert shape == ModelShape.of(tmp_path / "config.json")
    assert shape.parameters == parameters
    rest = shape.parameters - shape.matrices
    assert shape.active + rest == pytest.approx(active or parameters, rel=0.005)
    assert weight_bytes(shape, "none") == 2 * parameters
    assert weight_bytes(shape, "int4") == 2 * rest + shape.matrices / 2


@pytest.mark.parametrize("named", ["attn_implementation", "experts_implementation"])
def test_kernels_that_a_configuration_names_are_left_alone(named: str, tmp_path: Path) -> None:
    config = {**MIXTRAL, **EXPERTS, "num_hidden_layers": 2}
    shapes = []
    for more in ({}, {named: "kernels-community/flash-attn"}):  # code of the hub
        (tmp_path / "config.json").write_text(json.dumps({**config, **more}))
        shapes.append(ModelShape.of(tmp_path))
    assert shapes[0] == shapes[1]


def test_numbers_of_a_prompt() -> None:
    shape = ModelShape(4096, 32, 32, 8, 128, 128256, 1, 1, 1.0)
    assert trained_numbers(shape, "prompt-tuning", 20) == 20 * 4096
    assert trained_numbers(shape, "prefix-tuning", 20) == 20 * 32 * 2 * 8 * 128


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"hidden_size": 8}', "without a model_type"),
        ('{"model_type": "no-such"}', "which transformers does not know"),
        ('{"model_type": "t5"}', "no causal language model"),
        (
            '{"model_type": "bert", "architectures": ["BertForMaskedLM"]}',
            "no causal language model",
        ),
        ('{"model_type": "llama", "hidden_size": "big"}', "hidden_size"),
        (
            '{"model_type": "llama", "hidden_size": 100, "num_attention_heads": 7}',
            "attention heads",
        ),
        ('{"model_type": "llama", "hidden_size": -64}', "negative"),
        ('{"model_type": "llama", "num_hidden_layers": 0}', "0 layers"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BackboneError, match="this configuration cannot be read") as refused:
        ModelShape.of(tmp_path)
    assert said in str(refused.value.got) and len(str(refused.value.got)) <= 210


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is not JSON"),
        ("[" * 10**5, "the file is not JSON"),
        ("[]", "does not hold a JSON object"),
        (" " * 10**7 + "{}", "too large"),
        (None, "No such file or directory"),
    ],
)
def test_what_is_no_json_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(BackboneError, match=said) as refused:
        ModelShape.of(tmp_path)
    assert refused.value.where == str(tmp_path / "config.json")
