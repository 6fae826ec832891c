"""PEFT as the oracle of keys and values in front: both ways, forward, generate and gradients.

PREFIX_TUNING and CARTRIDGE are laid out alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import CartridgeConfig, PeftModel, PrefixTuningConfig, get_peft_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from cuecard.artifacts import Prompt, import_peft
from cuecard.artifacts.export import export
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, ConfigError, WrongBackboneError
from cuecard.tasks.encoding.batching import collate
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Encoded, Placement, PrefixKV, Record
from support.tiny import tiny_backbone, tiny_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
    # PEFT's generate() drops the positions that transformers hands it, and says so every time.
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]

# qwen3 has heads of a size of their own; all but gpt2, opt and bloom share keys among queries.
KINDS = ["llama", "gpt2", "qwen2", "qwen3", "opt", "gemma2-softcap", "mistral-sliding"]
LENGTH = 6
NEW = 5
SPEC = TaskSpec(
    kind="classification", template="Review: {text}\nLabel:", labels=("negative", "positive")
)
TEXTS = ("warm and funny", "a gob of drivel so sickly sweet that everyone will gag", "true")


def rows_of(backbone: CausalBackbone) -> list[Encoded]:
    return [SPEC.encode(Record({"text": text}, "positive"), backbone.tokenizer) for text in TEXTS]


def start(backbone: CausalBackbone) -> PrefixKV:
    heads, size = backbone.key_shape
    shape = backbone.num_layers, 2, heads, LENGTH, size
    return PrefixKV(torch.randn(shape, generator=torch.Generator().manual_seed(5)))


def prompt_on(backbone: CausalBackbone) -> Prompt:
    return Prompt.create(
        start(backbone),
        backbone=backbone,
        spec=SPEC,
        method="p-tuning-v2",
        method_config={"length": LENGTH},
        slot="prefix",
    )


def ours(backbone: CausalBackbone, prompt: Prompt) -> tuple[Tensor, list[list[int]]]:
    rows = rows_of(backbone)
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad():
        logits = backbone.forward(batch, prompt.injection())
    contexts = [row.context for row in rows]
    return logits, backbone.generate(contexts, [Placement()] * len(rows), prompt.injection(), NEW)


def theirs(model: Any, backbone: CausalBackbone) -> tuple[Tensor, list[list[int]]]:
    """Row by row, in no order that batches could matter for."""
    logits, said = [], []
    for row in rows_of(backbone):
        ids = torch.tensor([row.context])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            logits.append(model(**given).logits[0, -1])
            made = model.generate(**given, max_new_tokens=NEW, do_sample=False)
        tokens = made[0, ids.shape[1] :].tolist()
        said.append(tokens[: tokens.index(2)] if 2 in tokens else tokens)
    return torch.stack(logits), said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["saved", "peft", "peft-cartridge"])
def test_peft_answers_as_our_folder(kind: str, form: str, tmp_path: Path) -> None:
    backbone = tiny_backbone(kind)
    prompt = prompt_on(backbone)
    folder = prompt.save(tmp_path / "p")
    if form != "saved":
        folder = export(prompt, tmp_path / "adapter", form)
    model: Any = PeftModel.from_pretrained(tiny_model(kind), str(folder)).eval()
    logits, said = ours(backbone, Prompt.load(tmp_path / "p", backbone))
    expected, their_words = theirs(model, backbone)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert said == their_words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("projection", [False, True], ids=["plain", "projected"])
def test_we_answer_as_a_prefix_adapter(kind: str, projection: bool, tmp_path: Path) -> None:
    backbone = tiny_backbone(kind)
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=LENGTH,
        prefix_projection=projection,
        encoder_hidden_size=12,
    )
    torch.manual_seed(0)
    model: Any = get_peft_model(tiny_model(kind), config).eval()
    model.save_pretrained(str(tmp_path))
    prompt = import_peft(tmp_path, backbone, SPEC)
    assert prompt.manifest.injection == "prefix-kv"
    logits, said = ours(backbone, prompt)
    expected, their_words = theirs(model, backbone)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert said == their_words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", [0, 1, LENGTH])
def test_we_answer_as_a_cartridge(kind: str, frozen: int, tmp_path: Path) -> None:
    backbone = tiny_backbone(kind)
    config = CartridgeConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=LENGTH, num_frozen_tokens=frozen
    )
    torch.manual_seed(0)
    model: Any = get_peft_model(tiny_model(kind), config).eval()
    model.save_pretrained(str(tmp_path))
    logits, said = ours(backbone, import_peft(tmp_path, backbone, SPEC))
    expected, their_words = theirs(model, backbone)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    assert said == their_words


def test_a_cartridge_comes_back_as_it_went(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    prompt = prompt_on(backbone)
    export(prompt, tmp_path / "a", "peft-cartridge")
    back = import_peft(tmp_path / "a", backbone, SPEC)
    assert torch.equal(back.vectors, prompt.vectors)


def test_vectors_are_no_cartridge(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    prompt = Prompt.create(
        backbone.embeddings[:LENGTH].clone(),
        backbone=backbone,
        spec=SPEC,
        method="prompt-tuning",
        method_config={"length": LENGTH},
        slot="prefix",
    )
    with pytest.raises(ConfigError, match="no format for this prompt"):
        export(prompt, tmp_path / "a", "peft-cartridge")


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_loss_are_pefts(kind: str) -> None:
    backbone = tiny_backbone(kind)
    matrix = start(backbone).matrix.contiguous().requires_grad_()
    heads, _ = backbone.key_shape
    rows = rows_of(backbone)
    batch = collate([(row, row.target) for row in rows], read="targets")
    injection = PrefixKV.of_matrix(matrix, backbone.num_layers, heads)
    loss = cross_entropy(backbone.forward(batch, injection), batch.target_ids)
    loss.backward()  # type: ignore[no-untyped-call]

    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LENGTH)
    model: Any = get_peft_model(tiny_model(kind), config)
    weight = model.prompt_encoder["default"].embedding.weight
    weight.data.copy_(matrix.detach())
    their_loss = torch.zeros(())
    for row in rows:
        ids = torch.tensor([[*row.context, *row.target]])
        labels = torch.tensor([[-100] * len(row.context) + [*row.target]])
        their_loss = their_loss + model(
            input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels
        ).loss * len(row.target)
    their_loss = their_loss / len(batch.target_ids)
    their_loss.backward()  # type: ignore[no-untyped-call]
    assert matrix.grad is not None and weight.grad is not None
    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    assert float(weight.grad.abs().max()) > 1e-4
    torch.testing.assert_close(matrix.grad, weight.grad, atol=1e-5, rtol=1e-4)


def test_another_backbones_keys_are_refused(tmp_path: Path) -> None:
    export(prompt_on(tiny_backbone("llama")), tmp_path / "a", "peft")
    with pytest.raises(WrongBackboneError, match="do not fit the backbone"):
        import_peft(tmp_path / "a", tiny_backbone("gpt2"), SPEC)


def test_keys_and_values_have_no_form_of_vectors_in_peft(tmp_path: Path) -> None:
    prompt = prompt_on(tiny_backbone())
    for form in ("peft-p-tuning", "peft-multitask"):
        with pytest.raises(ConfigError, match="no format for this prompt"):
            export(prompt, tmp_path / form, form)


def test_a_manifest_without_its_key_heads_is_refused(tmp_path: Path) -> None:
    folder = prompt_on(tiny_backbone()).save(tmp_path / "p")
    path = folder / "prompt.json"
    path.write_text(path.read_text().replace('"key_heads": 2,', ""))
    with pytest.raises(ArtifactError, match="does not match its digest"):
        Prompt.load(folder)
