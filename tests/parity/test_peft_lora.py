"""PEFT as the oracle of LoRA adapters: its folders give its logits, merged and unmerged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from cuecard import Prompt
from cuecard.backbones import load_frozen
from cuecard.backbones.adapters.adapter import merge
from cuecard.backbones.adapters.peft_folder import read_adapter
from cuecard.tasks import collate
from cuecard.types import Backbone, InputTokens
from support.data.reviews import SPEC, reviews
from support.oracles.seq2seq import ENDS, OPENINGS
from support.peft_adapters import TARGETS, made_by_peft, save_adapter, save_kind
from support.tiny import CONFIGS, SEQ2SEQ, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in ("llama", "gpt2", "t5-relu", "qwen3", "bart", "opt")},
    "rslora": ("llama", {"use_rslora": True}),
    "patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "v_proj", "up_proj"],
            "rank_pattern": {
                "v_proj": 2,
                "layers.1.mlp.up_proj": 8,
                "^model.layers.0.mlp.up_proj": 3,
            },
            "alpha_pattern": {r"layers\.[01]\.self_attn\.q_proj": 11, "up_proj": 1},
        },
    ),
    "regex": ("llama", {"target_modules": r".*layers\.1\.(self_attn\.[qk]|mlp\.up)_proj"}),
    "regex on t5": ("t5-gated", {"target_modules": r".*decoder.*(SelfAttention|EncDec\w+)\.[qv]"}),
    "layers": ("llama", {"layers_to_transform": [1], "layers_pattern": "layers"}),
    "layers, any name": ("gpt2", {"layers_to_transform": 1}),
    "excluded": ("llama", {"target_modules": "all-linear", "exclude_modules": ["k_proj"]}),
    "excluded by regex": ("llama", {"exclude_modules": r".*0\.self_attn.*"}),
    "whole names": ("llama", {"target_modules": ["model.layers.0.mlp.gate_proj"]}),
}
cases = pytest.mark.parametrize("name", CASES)


def their_logits(model: Any, kind: str, contexts: list[tuple[int, ...]]) -> torch.Tensor:
    """[B, V] behind each context, row by row."""
    found = []
    for context in contexts:
        ids = torch.tensor([context])
        options: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if kind in SEQ2SEQ:
            ids = torch.tensor([[*context, *ENDS]])
            options = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            options["decoder_input_ids"] = torch.tensor([OPENINGS[kind]])
        with torch.no_grad():
            found.append(model(**options).logits[0, -1])
    return torch.stack(found)


def our_logits(backbone: Backbone, injection: InputTokens | None = None) -> torch.Tensor:
    rows = [SPEC.encode(record, backbone.tokenizer) for record in reviews(4)]
    with torch.no_grad():
        return backbone.forward(collate([(row, ()) for row in rows], read="next"), injection)


def contexts_of(backbone: Backbone) -> list[tuple[int, ...]]:
    return [SPEC.encode(record, backbone.tokenizer).context for record in reviews(4)]


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@cases
def test_logits_are_pefts(name: str, tmp_path: Path) -> None:
    kind, options = CASES[name]
    theirs = made_by_peft(kind, **options)
    theirs.save_pretrained(tmp_path / "lora")
    base = save_kind(tmp_path / "base", kind)
    ours = load_frozen(base, dtype="fp32", adapter=tmp_path / "lora")
    contexts = contexts_of(ours)
    plain = their_logits(tiny_model(kind), kind, contexts)
    expected = their_logits(theirs, kind, contexts)
    assert (expected - plain).abs().max() > 1e-2 * plain.abs().max()
    assert_close(our_logits(ours), expected)
    assert_close(our_logits(ours), their_logits(theirs.merge_and_unload(), kind, contexts))


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_merged_masked_models_are_pefts(kind: str, tmp_path: Path) -> None:
    theirs = made_by_peft(kind, task_type=None)
    theirs.save_pretrained(tmp_path / "lora")
    model, ids = tiny_model(kind), torch.arange(5, 25)[None]
    mask = torch.ones_like(ids)
    with torch.no_grad():
        plain = model(input_ids=ids, attention_mask=mask).logits
        merge(model, read_adapter(tmp_path / "lora"))
        ours = model(input_ids=ids, attention_mask=mask).logits
        expected = theirs(input_ids=ids, attention_mask=mask).logits
    assert (expected - plain).abs().max() > 1e-2 * plain.abs().max()
    assert_close(ours, expected)


@pytest.mark.parametrize("kind", TARGETS)
def test_a_prompt_behind_the_adapter_gives_pefts_logits(kind: str, tmp_path: Path) -> None:
    """PEFT's base with the adapter merged, then our folder as its prompt."""
    base = save_kind(tmp_path / "base", kind)
    save_adapter(tmp_path / "lora", kind)
    ours = load_frozen(base, dtype="fp32", adapter=tmp_path / "lora")
    vectors = torch.randn(5, 32, generator=torch.Generator().manual_seed(5)) * 0.3
    prompt = Prompt.create(
        vectors,
        backbone=ours,
        spec=SPEC,
        method="prompt-tuning",
        method_config={"length": 5},
        slot="prefix",
    )
    prompt.save(tmp_path / "prompt")
    lora = PeftModel.from_pretrained(tiny_model(kind), str(tmp_path / "lora"))
    merged: Any = lora.merge_and_unload()
    theirs = PeftModel.from_pretrained(merged, str(tmp_path / "prompt")).eval()
    expected = their_logits(theirs, kind, contexts_of(ours))
    assert_close(our_logits(ours, InputTokens(vectors)), expected)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_fast_path_stays_on(kind: str, tmp_path: Path) -> None:
    """One packed pass, no padding, the same number of tokens as without an adapter."""
    assert kind in CONFIGS
    base, lora = save_kind(tmp_path / "base", kind), save_adapter(tmp_path / "lora", kind)
    plain, adapted = load_frozen(base, dtype="fp32"), load_frozen(base, dtype="fp32", adapter=lora)
    vectors = InputTokens(torch.zeros(5, 32))
    counts = []
    for backbone in (plain, adapted):
        our_logits(backbone, vectors)  # what is tried once
        backbone.reset_counts()
        our_logits(backbone, vectors)
        counts.append(dict(backbone.counts))
    assert counts[0] == counts[1] and counts[1]["calls"] == 1
