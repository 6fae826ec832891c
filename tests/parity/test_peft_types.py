"""PEFT as the oracle of P-tuning and of multitask prompts: both ways, forward and generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    MultitaskPromptTuningConfig,
    PeftConfig,
    PeftModel,
    PromptEncoderConfig,
    get_peft_model,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from torch import Tensor

from cuecard.artifacts import Prompt, import_peft
from cuecard.artifacts.export import export
from cuecard.backbones import CausalBackbone
from cuecard.errors import ConfigError
from cuecard.tasks.encoding.batching import collate
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Encoded, Injection, Placement, Record
from support.tiny import tiny_backbone, tiny_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
    # PEFT's generate() drops the positions that transformers hands it, and says so every time.
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]

KINDS = ["llama", "gpt2", "qwen3", "opt", "gemma2-softcap"]
LENGTH = 6
NEW = 5
SPEC = TaskSpec(
    kind="classification", template="Review: {text}\nLabel:", labels=("negative", "positive")
)
TEXTS = ("warm and funny", "a gob of drivel so sickly sweet that everyone will gag", "true")


def rows_of(backbone: CausalBackbone) -> list[Encoded]:
    return [SPEC.encode(Record({"text": text}, None), backbone.tokenizer) for text in TEXTS]


def ours(backbone: CausalBackbone, injection: Injection) -> tuple[Tensor, list[list[int]]]:
    rows = rows_of(backbone)
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad():
        logits = backbone.forward(batch, injection)
    said = [backbone.generate([row.context], [Placement()], injection, NEW)[0] for row in rows]
    return logits, said


def theirs(
    model: Any, backbone: CausalBackbone, **options: Tensor
) -> tuple[Tensor, list[list[int]]]:
    logits, said = [], []
    for row in rows_of(backbone):
        ids = torch.tensor([row.context])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **options}
        with torch.no_grad():
            logits.append(model(**given).logits[0, -1])
            made = model.generate(**given, max_new_tokens=NEW, do_sample=False)
        tokens = made[0, ids.shape[1] :].tolist()
        said.append(tokens[: tokens.index(2)] if 2 in tokens else tokens)
    return torch.stack(logits), said


def same(first: tuple[Tensor, list[list[int]]], second: tuple[Tensor, list[list[int]]]) -> bool:
    torch.testing.assert_close(first[0], second[0], atol=1e-5, rtol=1e-5)
    return first[1] == second[1]


def prompt_on(backbone: CausalBackbone) -> Prompt:
    vectors = torch.randn(LENGTH, backbone.hidden_size, generator=torch.Generator().manual_seed(5))
    return Prompt.create(
        vectors * 0.3,
        backbone=backbone,
        spec=SPEC,
        method="p-tuning",
        method_config={"length": LENGTH},
        slot="prefix",
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["peft", "peft-p-tuning", "peft-multitask"])
def test_peft_answers_as_our_export(kind: str, form: str, tmp_path: Path) -> None:
    backbone = tiny_backbone(kind)
    prompt = prompt_on(backbone)
    folder = export(prompt, tmp_path / "adapter", form)
    model: Any = PeftModel.from_pretrained(tiny_model(kind), str(folder)).eval()
    options = {"task_ids": torch.tensor([0])} if form == "peft-multitask" else {}
    assert same(ours(backbone, prompt.injection()), theirs(model, backbone, **options))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoder", ["MLP", "LSTM"])
def test_we_answer_as_a_p_tuning_adapter(kind: str, encoder: str, tmp_path: Path) -> None:
    backbone = tiny_backbone(kind)
    config = PromptEncoderConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=LENGTH,
        encoder_reparameterization_type=encoder,
        encoder_hidden_size=12,
    )
    torch.manual_seed(0)
    model: Any = get_peft_model(tiny_model(kind), config).eval()
    model.save_pretrained(str(tmp_path))
    found = import_peft(tmp_path, backbone, SPEC)
    assert found.manifest.method == "p-tuning"
    assert same(ours(backbone, found.injection()), theirs(model, backbone))


@pytest.mark.parametrize("kind", KINDS)
def test_we_answer_as_each_task_of_a_multitask_adapter(kind: str, tmp_path: Path) -> None:
    backbone = tiny_backbone(kind)
    config = MultitaskPromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=LENGTH, num_tasks=3, num_ranks=2
    )
    torch.manual_seed(0)
    model: Any = get_peft_model(tiny_model(kind), config).eval()
    encoder = model.prompt_encoder["default"]
    with torch.no_grad():
        for factor in (encoder.prefix_task_cols, encoder.prefix_task_rows):
            factor.normal_()
    model.save_pretrained(str(tmp_path))
    answers = []
    for task in range(3):
        found = import_peft(tmp_path, backbone, SPEC, task=task)
        answers.append(found.vectors)
        expected = theirs(model, backbone, task_ids=torch.tensor([task]))
        assert same(ours(backbone, found.injection()), expected)
    assert not torch.equal(answers[0], answers[1])
    shared = import_peft(tmp_path, backbone, SPEC, task="shared")
    assert torch.equal(shared.vectors, encoder.embedding.weight.detach())
    for wrong in (None, 3, -1):
        with pytest.raises(ConfigError, match="choose one task of the multitask adapter"):
            import_peft(tmp_path, backbone, SPEC, task=wrong)


def test_a_plain_adapter_has_no_tasks(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    export(prompt_on(backbone), tmp_path / "a", "peft")
    with pytest.raises(ConfigError, match="no tasks to choose from"):
        import_peft(tmp_path / "a", backbone, SPEC, task=0)


def test_the_trap_of_going_on_with_a_p_tuning_adapter(tmp_path: Path) -> None:
    """Documented in docs/methods.md: PEFT projects the finished vectors a second time."""
    backbone = tiny_backbone()
    prompt = prompt_on(backbone)
    expected = ours(backbone, prompt.injection())[0]
    for form, trapped in (("peft-p-tuning", True), ("peft", False)):
        folder = export(prompt, tmp_path / form, form)
        config = PeftConfig.from_pretrained(str(folder))
        config.inference_mode, config.base_model_name_or_path = False, None
        model: Any = get_peft_model(tiny_model(), config).eval()
        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        found = theirs(model, backbone)[0]
        assert torch.allclose(found, expected, atol=1e-5) is not trapped


def test_the_trap_of_left_padding(tmp_path: Path) -> None:
    """Documented in docs/methods.md: PEFT counts padding between its vectors and the tokens."""
    backbone = tiny_backbone()
    prompt = prompt_on(backbone)
    model: Any = PeftModel.from_pretrained(
        tiny_model(), str(export(prompt, tmp_path / "a", "peft"))
    ).eval()
    expected = ours(backbone, prompt.injection())[0]
    for row, alone in zip(rows_of(backbone), expected, strict=True):
        ids = torch.tensor([[0] * 7 + list(row.context)])
        mask = (torch.arange(ids.shape[1]) >= 7).long()[None]
        with torch.no_grad():
            padded = model(input_ids=ids, attention_mask=mask).logits[0, -1]
        assert not torch.allclose(padded, alone, atol=1e-2)
