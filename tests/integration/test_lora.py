"""LoRA on the built-in backbone: trained, loaded by both readers, and a prompt on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from cuecard import LoraSettings, PromptTuning, TrainConfig, load_backbone, train, train_lora
from cuecard.tasks import collate
from cuecard.training.objective.validation import validate
from cuecard.types import InputTokens
from support.data.reviews import SPEC, review_task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]


def test_adapter_and_prompt_in_turn(
    catalogue_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(catalogue_cache))
    name, task = "smollm2-135m-instruct", review_task(60)
    base = load_backbone(name, dtype="fp32", device="cpu")
    nothing = InputTokens(torch.zeros(0, base.hidden_size))
    start = validate(base, task.spec, task.validation, nothing, "prefix")
    settings = LoraSettings(rank=4, targets=("q_proj", "v_proj"))
    config = TrainConfig(steps=8, batch_rows=4, lr=2e-3, warmup=2, eval_every=4)
    run = train_lora(base, task, settings, config, folder=tmp_path)
    assert run.trained == 4 * 30 * ((576 + 576) + (576 + 192))
    assert run.validation.loss < start.loss
    adapted = load_backbone(name, dtype="fp32", device="cpu", adapter=tmp_path / "adapter")
    rows = [SPEC.encode(record, base.tokenizer) for record in task.test[:3]]
    with torch.no_grad():
        ours = adapted.forward(collate([(row, ()) for row in rows], read="next"), None)
        theirs: Any = PeftModel.from_pretrained(base.model, str(tmp_path / "adapter")).eval()
        for row, logits in zip(rows, ours, strict=True):
            expected = theirs(input_ids=torch.tensor([row.context])).logits[0, -1]
            assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    short = TrainConfig(steps=4, batch_rows=4, warmup=1)
    prompt = train(adapted, task, PromptTuning(length=4, init="vocabulary"), short).prompt
    assert prompt.manifest.backbone.fingerprint.adapter == run.adapter.digest
