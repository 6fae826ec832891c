"""LoRA adapters that PEFT made for tiny backbones, and those backbones on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from support.tiny import SEQ2SEQ, tiny_model, tiny_tokenizer

# Names of matrices to adapt, in attention and behind it.
TARGETS = {
    "llama": ["q_proj", "down_proj"],
    "gpt2": ["c_attn", "mlp.c_fc"],
    "t5-relu": ["q", "wo"],
}


def save_kind(folder: Path, kind: str, seed: int = 0) -> Path:
    """A tiny backbone of any kind in the hub's layout."""
    tiny_model(kind, seed).save_pretrained(folder)
    tiny_tokenizer(SEQ2SEQ[kind][1] if kind in SEQ2SEQ else "").save_pretrained(folder)
    return folder


def made_by_peft(kind: str, seed: int = 1, **options: Any) -> Any:
    """PEFT's model with a random adapter, on a fresh tiny model."""
    settings: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": TARGETS.get(kind, "all-linear"),
        "init_lora_weights": False,
        "task_type": "SEQ_2_SEQ_LM" if kind in SEQ2SEQ else "CAUSAL_LM",
        "fan_in_fan_out": kind == "gpt2",
        **options,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(tiny_model(kind), LoraConfig(**settings)).eval()


def save_adapter(folder: Path, kind: str = "llama", seed: int = 1, **options: Any) -> Path:
    """An adapter's folder as PEFT writes it."""
    made_by_peft(kind, seed, **options).save_pretrained(folder)
    return folder


def change_config(folder: Path, **values: Any) -> None:
    """Other settings in an adapter's folder."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Other numbers in an adapter's folder."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
