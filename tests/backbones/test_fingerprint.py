from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cuecard.backbones.fingerprint import fingerprint_of
from support.tiny import CONFIGS, tiny_model, tiny_tokenizer


def test_precision_does_not_matter() -> None:
    exact = fingerprint_of(tiny_model().to(torch.bfloat16).float(), tiny_tokenizer())
    assert fingerprint_of(tiny_model().to(torch.bfloat16), tiny_tokenizer()) == exact
    assert fingerprint_of(tiny_model(), tiny_tokenizer()) == exact


def test_architectures_differ() -> None:
    found = {fingerprint_of(tiny_model(kind), tiny_tokenizer()) for kind in CONFIGS}
    assert len(found) == len(CONFIGS)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda m: m.get_input_embeddings().weight[3, 4].add_(1), "embeddings"),
        (lambda m: m.model.layers[1].mlp.down_proj.weight.mul_(1.1), "weights"),
    ],
)
def test_a_changed_part_shows(change: Any, part: str) -> None:
    before = asdict(fingerprint_of(tiny_model(), tiny_tokenizer()))
    model = tiny_model()
    with torch.no_grad():
        change(model)
    after = asdict(fingerprint_of(model, tiny_tokenizer()))
    assert after[part] != before[part]
    assert after["tokenizer"] == before["tokenizer"] and after["config"] == before["config"]


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16},
        {"rms_norm_eps": 1e-3},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
    ],
)
def test_numbers_without_weights_show_in_the_config(change: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "intermediate_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    with torch.random.fork_rng():
        one = LlamaForCausalLM(LlamaConfig(**sizes))
        two = LlamaForCausalLM(LlamaConfig(**sizes | change))
    tokenizer = tiny_tokenizer()
    assert fingerprint_of(one, tokenizer).config != fingerprint_of(two, tokenizer).config


def test_the_chat_template_is_part_of_the_tokenizer() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    before = fingerprint_of(model, tokenizer).tokenizer
    kept = tokenizer.chat_template
    try:
        tokenizer.chat_template = "{{ messages }}"
        assert fingerprint_of(model, tokenizer).tokenizer != before
    finally:
        tokenizer.chat_template = kept
