"""`adapter_config.json`, with which PEFT loads a prompt folder as an adapter.

PREFIX_TUNING holds keys and values [P, L * 2 * K * D]: `token_dim` is K * D and
`num_attention_heads` K, both of key heads (grouped-query attention). CARTRIDGE holds the same; when
it is trained further, the first position stays as it is.

PEFT's PROMPT_TUNING puts the vectors before the first token, so only the prefix slot has this form,
and it knows of no shifts. Every method whose injection is plain vectors takes it, P-tuning too; the
same vectors as P_TUNING or MULTITASK_PROMPT_TUNING are exports. They have traps: with
`inference_mode` off, P_TUNING builds a fresh encoder and runs the finished vectors through it a
second time; MULTITASK_PROMPT_TUNING wants `task_ids` with every call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from cuecard.artifacts.safetensors_file import TENSOR_NAME
from cuecard.types import Slot

if TYPE_CHECKING:
    from torch import Tensor

PeftType = Literal[
    "PROMPT_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "CARTRIDGE"
]
KEYS_VALUES: tuple[PeftType, ...] = ("PREFIX_TUNING", "CARTRIDGE")
"""Types that hold keys and values."""

# PEFT must not look for a tokenizer or a text before it reads the vectors.
_NO_INIT = {
    "prompt_tuning_init": "RANDOM",
    "prompt_tuning_init_text": None,
    "tokenizer_name_or_path": None,
}
# Factors of rank one; the number of tasks comes with the prompt.
_RANK_ONE = {
    "num_ranks": 1,
    "prompt_tuning_init_state_dict_path": None,
    "prompt_tuning_init_task": 0,
}


def adapter_config(
    slot: Slot,
    tensors: Mapping[str, Tensor],
    *,
    num_layers: int,
    backbone: str,
    task_type: str | None = "CAUSAL_LM",
    key_heads: int | None = None,
    peft_type: PeftType | None = None,
    tasks: int = 1,
) -> bytes | None:
    """The content of `adapter_config.json`, or None where PEFT has no such form.

    Args:
        task_type: what PEFT calls the backbone; None where it runs it in another way.
        key_heads: of keys and values; None for vectors.
        peft_type: by default PREFIX_TUNING for keys and values, PROMPT_TUNING for vectors.
        tasks: how many have factors, for MULTITASK_PROMPT_TUNING.
    """
    usual: PeftType = "PROMPT_TUNING" if key_heads is None else "PREFIX_TUNING"
    peft_type = peft_type or usual
    # PEFT's other kinds on encoder-decoders are not held against our own.
    known = task_type == "CAUSAL_LM" or (task_type is not None and peft_type == "PROMPT_TUNING")
    possible = known and slot == "prefix" and set(tensors) == {TENSOR_NAME}
    if not possible or (key_heads is None) is (peft_type in KEYS_VALUES):
        return None
    length, hidden_size = tensors[TENSOR_NAME].shape
    if key_heads is not None:
        hidden_size //= num_layers * 2
    own: dict[PeftType, dict[str, Any]] = {
        "PROMPT_TUNING": _NO_INIT,
        "P_TUNING": {
            "encoder_dropout": 0.0,
            "encoder_hidden_size": hidden_size,
            "encoder_num_layers": 2,
            "encoder_reparameterization_type": "MLP",
        },
        "MULTITASK_PROMPT_TUNING": {**_NO_INIT, **_RANK_ONE, "num_tasks": tasks},
        "PREFIX_TUNING": {"encoder_hidden_size": hidden_size, "prefix_projection": False},
        "CARTRIDGE": {"num_frozen_tokens": 1},
    }
    content = {
        "base_model_name_or_path": backbone,
        "inference_mode": True,
        # Key heads for keys and values. Else PEFT fills it in, and nothing depends on it.
        "num_attention_heads": key_heads,
        "num_layers": num_layers,
        # For encoder-decoders PEFT's default is 2: twice the rows, of which it uses the first half.
        "num_transformer_submodules": 1,
        "num_virtual_tokens": length,
        "peft_type": peft_type,
        "revision": None,
        "task_type": task_type,
        "token_dim": hidden_size,
        **own[peft_type],
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("ascii")
