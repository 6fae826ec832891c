"""T5 exported to ONNX as an encoder and a decoder -> a folder in the hub's layout.

transformers ties T5's LM head to its embeddings, whatever the configuration says, unless the file
holds both and they differ; then `tie_word_embeddings: false` also keeps it from scaling the
decoder's outputs, as T5 1.1 wants it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cuecard.catalogue.progress import Progress
from cuecard.catalogue.weights.hub_folder import Floats, write_json, write_weights
from cuecard.catalogue.weights.onnx_weights import onnx_weights
from cuecard.errors import CatalogueError

_SPECIAL = {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}
_BIAS = "layer.0.SelfAttention.relative_attention_bias.weight"


def convert_t5(
    encoder: Path, decoder: Path, tokenizer: Path, folder: Path, progress: Progress, label: str
) -> None:
    """Write `config.json`, `model.safetensors` (float32, which is exact) and the tokenizer.

    Args:
        encoder, decoder: ONNX files of the two stacks, the decoder's with the LM head.
        tokenizer: a `tokenizer.json` with T5's special tokens.
        folder: an existing, empty folder.
        progress: called after each of the files.
        label: what to call the work there.

    Raises:
        CatalogueError: weights that are not those of one T5 model.
    """
    whole = {f"encoder.{name}": values for name, values in onnx_weights(encoder).items()}
    progress(label, 1, 4)
    whole |= onnx_weights(decoder)
    progress(label, 2, 4)
    again = whole.pop("encoder.embed_tokens.weight", None)
    if again is None or not np.array_equal(again, whole.get("shared.weight", np.zeros(0))):
        raise CatalogueError(
            "the encoder and the decoder do not have one embedding",
            where=f"{encoder.name}, {decoder.name}",
            expected="embed_tokens.weight there, the same as shared.weight here",
        )
    config = _config(whole, decoder.name)
    write_weights(folder, whole)
    progress(label, 3, 4)
    ids = _write_tokenizer(tokenizer, folder)
    ends = {f"{name}_token_id": ids[name] for name in ("pad", "eos")}
    ends["decoder_start_token_id"] = ids["pad"]
    write_json(folder / "config.json", config | ends)
    write_json(folder / "generation_config.json", ends)
    progress(label, 4, 4)


def _config(whole: dict[str, Floats], where: str) -> dict[str, Any]:
    """The sizes, read off the weights."""
    try:
        buckets, heads = whole[f"encoder.block.0.{_BIAS}"].shape
        vocabulary, width = whole["shared.weight"].shape
        inner = whole["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0]
        gated = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in whole
        first = f"encoder.block.0.layer.1.DenseReluDense.{'wi_0' if gated else 'wi'}.weight"
        feed_forward = whole[first].shape[0]
    except KeyError as error:
        raise CatalogueError(
            "a weight of T5 is missing", where=where, expected=str(error.args[0])
        ) from error
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": True,
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": feed_forward,
        "num_heads": heads,
        "num_layers": _count(whole, "encoder"),
        "num_decoder_layers": _count(whole, "decoder"),
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": "lm_head.weight" not in whole,
        "dropout_rate": 0.1,
        "torch_dtype": "float32",
    }


def _count(whole: dict[str, Floats], half: str) -> int:
    return len({name.split(".")[2] for name in whole if name.startswith(f"{half}.block.")})


def _write_tokenizer(source: Path, folder: Path) -> dict[str, int]:
    """The tokenizer without the packagers' cutting and padding; the special tokens' ids."""
    document = json.loads(source.read_text(encoding="utf-8"))
    added = {entry["content"]: entry["id"] for entry in document["added_tokens"]}
    missing = set(_SPECIAL.values()) - set(added)
    if missing:
        raise CatalogueError(
            "the tokenizer is not T5's", where=source.name, got=f"no {', '.join(sorted(missing))}"
        )
    document |= {"truncation": None, "padding": None}
    text = json.dumps(document, ensure_ascii=False)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {f"{name}_token": token for name, token in _SPECIAL.items()}
        | {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512},
    )
    return {name: added[token] for name, token in _SPECIAL.items()}
