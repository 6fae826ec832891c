"""A prompt for one backbone is refused on any other, and the error names what differs."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from cuecard.artifacts import Prompt, check_backbone
from cuecard.backbones import CausalBackbone
from cuecard.errors import WrongBackboneError
from support.tiny import CONFIGS, tiny_backbone, tiny_model, tiny_tokenizer

TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def other_embedding() -> CausalBackbone:
    model = tiny_model("llama")
    model.get_input_embeddings().weight.data[7, 3] += 1
    return CausalBackbone(model, tiny_tokenizer(), "other")


def other_inner_weight() -> CausalBackbone:
    model = tiny_model("llama")
    model.model.layers[1].mlp.up_proj.weight.data += 0.05
    return CausalBackbone(model, tiny_tokenizer(), "other")


def other_chat_template() -> CausalBackbone:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = TEMPLATE
    return CausalBackbone(tiny_model("llama"), tokenizer, "other")


def other_vocabulary() -> CausalBackbone:
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.add_tokens(["quokka"])
    return CausalBackbone(tiny_model("llama"), tokenizer, "other")


def other_config() -> CausalBackbone:
    config = CONFIGS["llama"]()
    config.rms_norm_eps = 1e-2
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(tiny_model("llama").state_dict())
    return CausalBackbone(model, tiny_tokenizer(), "other")


def other_width() -> CausalBackbone:
    config = CONFIGS["llama"]()
    config.hidden_size, config.head_dim = 64, 16
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return CausalBackbone(model, tiny_tokenizer(), "other")


FAULTS: dict[Callable[[], CausalBackbone], tuple[str, ...]] = {
    other_embedding: ("other input embeddings",),
    other_inner_weight: ("other inner weights",),
    other_chat_template: ("another tokenizer",),
    other_vocabulary: ("another tokenizer",),
    other_config: ("another architecture",),
    other_width: ("hidden_size 64 instead of 32",),
    lambda: tiny_backbone("llama", seed=1): ("input embeddings", "inner weights"),
    lambda: tiny_backbone("gpt2"): ("architecture", "input embeddings", "inner weights"),
}


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_wrong_backbone_is_refused(
    folder: Path, prompt: Prompt, make: Callable[[], CausalBackbone]
) -> None:
    wrong = make()
    with pytest.raises(WrongBackboneError, match="made for another backbone") as caught:
        Prompt.load(folder, wrong, check_vectors=False)
    for part in FAULTS[make]:
        assert part in str(caught.value.got)
    assert len(str(caught.value.got).split(", ")) == len(FAULTS[make])
    assert caught.value.expected == prompt.manifest.backbone.name


def test_the_same_weights_under_another_name_or_type_are_accepted(prompt: Prompt) -> None:
    check_backbone(
        prompt.manifest.backbone, CausalBackbone(tiny_model("llama"), tiny_tokenizer(), "x")
    )
    half = CausalBackbone(tiny_model("llama").to(torch.bfloat16), tiny_tokenizer(), "bf16")
    check_backbone(prompt.manifest.backbone, half)
    assert half.fingerprint.embeddings == prompt.manifest.backbone.fingerprint.embeddings
