"""`adapter_config.json`, by which PEFT reads a prompt folder as its own.

PEFT's PROMPT_TUNING puts the vectors before the first token, so only the prefix slot has this form.
"""

from __future__ import annotations

import json

from cuecard.types import Slot


def adapter_config(
    slot: Slot, *, length: int, hidden_size: int, num_layers: int, backbone: str
) -> bytes | None:
    """The content of `adapter_config.json`, or None where PEFT has no such form."""
    if slot != "prefix":
        return None
    content = {
        "base_model_name_or_path": backbone,
        "inference_mode": True,
        # PEFT fills this in from the base model; prompt tuning does not depend on it.
        "num_attention_heads": None,
        "num_layers": num_layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": length,
        "peft_type": "PROMPT_TUNING",
        # RANDOM: PEFT must not look for a tokenizer or a text before it reads the vectors.
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "revision": None,
        "task_type": "CAUSAL_LM",
        "token_dim": hidden_size,
        "tokenizer_name_or_path": None,
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("ascii")
