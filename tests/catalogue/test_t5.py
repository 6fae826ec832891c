"""T5 as an exporter and a quantiser leave it -> a folder that transformers loads as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5ForConditionalGeneration

from cuecard.catalogue.progress import silent
from cuecard.catalogue.weights.onnx_weights import onnx_weights
from cuecard.catalogue.weights.t5 import convert_t5
from cuecard.errors import CatalogueError
from support.tiny import tiny_model, tiny_tokenizer

EMBEDDINGS = ("embed_tokens", "shared", "relative_attention_bias")


def quantized(values: np.ndarray, signed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q, zero point, scale of a whole tensor."""
    scale = np.float32(np.abs(values).max() / 127)
    zero = np.int8(3) if signed else np.uint8(128)
    kind, low, high = (np.int8, -128, 127) if signed else (np.uint8, 0, 255)
    whole = np.clip(np.round(values / scale) + zero, low, high).astype(kind)
    return whole, np.array(zero), np.array(scale)


def write_onnx(path: Path, weights: dict[str, np.ndarray], root: str) -> dict[str, np.ndarray]:
    """Weights as torch's exporter and onnxruntime's quantiser write them; what they are worth."""
    tensors, nodes, worth = [], [], {}
    for number, (name, values) in enumerate(weights.items()):
        if values.ndim == 1:
            tensors.append(numpy_helper.from_array(values, f"{root}.{name}"))
            worth[name] = values
            continue
        embedding = any(part in name for part in EMBEDDINGS)
        stem = f"{root}.{name}" if embedding else f"onnx::MatMul_{number}"
        q, zero, scale = quantized(values if embedding else values.T, not embedding)
        for end, part in (("quantized", q), ("zero_point", zero), ("scale", scale)):
            tensors.append(numpy_helper.from_array(part, f"{stem}_{end}"))
        exact = (q.astype(np.float32) - np.float32(zero)) * scale
        worth[name] = exact if embedding else exact.T
        if not embedding:
            module = name.removesuffix(".weight").replace(".", "/")
            inputs = ["x", f"{stem}_quantized", "x_zero", f"{stem}_zero_point"]
            node = helper.make_node(
                "MatMulInteger", inputs, ["y"], name=f"/{root}/{module}/MatMul_quant"
            )
            nodes.append(node)
    graph = helper.make_graph(nodes, "half", [], [], initializer=tensors)
    onnx.save(helper.make_model(graph), path)
    return worth


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, T5ForConditionalGeneration]:
    """A folder with the three files, and the model of just these weights."""
    folder = tmp_path_factory.mktemp("t5")
    model = tiny_model("t5-gated")
    model.lm_head.weight = torch.nn.Parameter(torch.randn(384, 32) * 0.3)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    encoder = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
    rest = ("encoder.", "decoder.embed_tokens")
    decoder = {k: v for k, v in state.items() if not k.startswith(rest)}
    worth = write_onnx(folder / "encoder.onnx", encoder, "enc")
    worth = {f"encoder.{name}": values for name, values in worth.items()}
    worth |= write_onnx(folder / "decoder.onnx", decoder, "m")
    worth["decoder.embed_tokens.weight"] = worth["shared.weight"]
    exact = {k: torch.from_numpy(np.array(v, dtype=np.float32)) for k, v in worth.items()}
    model.load_state_dict(exact)
    core = json.loads(tiny_tokenizer("$A </s>").backend_tokenizer.to_str())
    for number, token in enumerate(("<pad>", "</s>", "<unk>")):
        place = {"id": (0, 2, 3)[number], "content": token, "special": True}
        core["added_tokens"] = [t for t in core["added_tokens"] if t["id"] != place["id"]]
        fixed = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        core["added_tokens"].append(place | fixed)
    core["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    (folder / "tokenizer.json").write_text(json.dumps(core))
    return folder, model


def convert(folder: Path, out: Path) -> Path:
    out.mkdir()
    parts = (folder / name for name in ("encoder.onnx", "decoder.onnx", "tokenizer.json"))
    convert_t5(*parts, out, silent, "")
    return out


def test_the_converted_folder_gives_the_models_logits(source: Any, tmp_path: Path) -> None:
    folder, model = source
    out = convert(folder, tmp_path / "out")
    loaded, info = AutoModelForSeq2SeqLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert loaded.config.num_decoder_layers == 3 and loaded.config.num_layers == 2
    assert not loaded.config.scale_decoder_outputs
    given = {"input_ids": torch.tensor([[9, 8, 7, 2]]), "decoder_input_ids": torch.tensor([[0, 5]])}
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**given).logits, model.eval()(**given).logits)
    assert loaded.generation_config.decoder_start_token_id == 0


def test_the_tokenizer_neither_cuts_nor_pads(source: Any, tmp_path: Path) -> None:
    out = convert(source[0], tmp_path / "out")
    core = json.loads((out / "tokenizer.json").read_text())
    assert core["truncation"] is None and core["padding"] is None
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.is_fast and tokenizer.eos_token == "</s>"
    assert len(tokenizer("one of the best films of the year")["input_ids"]) > 4


def test_equal_packages_give_equal_bytes(source: Any, tmp_path: Path) -> None:
    first, second = (convert(source[0], tmp_path / name) for name in ("a", "b"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_halves_of_two_models_are_refused(source: Any, tmp_path: Path) -> None:
    folder, _ = source
    for name in ("decoder.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    encoder = onnx_weights(folder / "encoder.onnx")
    encoder["embed_tokens.weight"] = encoder["embed_tokens.weight"] * 2
    write_onnx(tmp_path / "encoder.onnx", encoder, "enc")
    with pytest.raises(CatalogueError, match="one embedding"):
        convert(tmp_path, tmp_path / "out")


def test_a_weight_that_is_missing_is_named(source: Any, tmp_path: Path) -> None:
    folder, _ = source
    for name in ("decoder.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    model = onnx.load(folder / "encoder.onnx")
    kept = [t for t in model.graph.initializer if "relative_attention_bias" not in t.name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, tmp_path / "encoder.onnx")
    with pytest.raises(CatalogueError, match="relative_attention_bias"):
        convert(tmp_path, tmp_path / "out")


def test_another_tokenizer_is_refused(source: Any, tmp_path: Path) -> None:
    folder, _ = source
    for name in ("encoder.onnx", "decoder.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "tokenizer.json").write_text('{"added_tokens": []}')
    with pytest.raises(CatalogueError, match="not T5's"):
        convert(tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("leave_out", "scale", "match"),
    [("_scale", np.float32(1), "without its"), ("", np.ones(2, np.float32), "by channel")],
)
def test_quantised_weights_of_other_kinds(
    leave_out: str, scale: Any, match: str, tmp_path: Path
) -> None:
    parts = {
        "m.a.weight_quantized": np.zeros((2, 2), np.int8),
        "m.a.weight_zero_point": np.array(0, np.int8),
        "m.a.weight_scale": np.array(scale),
    }
    tensors = [
        numpy_helper.from_array(values, name)
        for name, values in parts.items()
        if not (leave_out and name.endswith(leave_out))
    ]
    graph = helper.make_graph([], "g", [], [], initializer=tensors)
    onnx.save(helper.make_model(graph), tmp_path / "x.onnx")
    with pytest.raises(CatalogueError, match=match):
        onnx_weights(tmp_path / "x.onnx")
