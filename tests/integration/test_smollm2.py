"""The built-in backbone as the catalogue makes it: real weights, real tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from cuecard import CausalBackbone, Prompt, PromptTuning, TaskSpec, TrainConfig, load_backbone
from cuecard.evaluation.predict import predict
from cuecard.tasks import Task, collate
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import Placement
from support.data.reviews import LONG_SPEC, reviews

pytestmark = [pytest.mark.slow, pytest.mark.integration]

SPEC = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("negative", "positive"),
)


@pytest.fixture(scope="module")
def backbone(catalogue_cache: Path) -> CausalBackbone:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUECARD_CACHE", str(catalogue_cache))
        return load_backbone("smollm2-135m-instruct", dtype="fp32", device="cpu")


def test_it_is_smollm2(backbone: CausalBackbone) -> None:
    assert (backbone.hidden_size, backbone.num_layers, backbone.vocab_size) == (576, 30, 49152)
    ids = backbone.tokenizer("The capital of France is")["input_ids"]
    (answer,) = backbone.generate([ids], [Placement()], None, 6)
    assert "Paris" in backbone.tokenizer.decode(answer)


def test_shared_and_plain_paths_agree(backbone: CausalBackbone) -> None:
    rows = [SPEC.encode(record, backbone.tokenizer) for record in reviews(5)]
    method = new_method(backbone, SPEC, PromptTuning(length=20, init="vocabulary"), 0)
    with torch.no_grad():
        batch = collate([(row, ()) for row in rows], read="next")
        shared = backbone.forward(batch, method.injection())
        alone = torch.cat(
            [
                backbone.forward(collate([(row, ())], read="next"), method.injection())
                for row in rows
            ]
        )
    torch.testing.assert_close(shared, alone, atol=5e-4, rtol=1e-4)


def test_precisions_share_a_fingerprint_and_agree(
    backbone: CausalBackbone, catalogue_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUECARD_CACHE", str(catalogue_cache))
    half = load_backbone("smollm2-135m-instruct", dtype="bf16", device="cpu")
    assert half.fingerprint == backbone.fingerprint
    for spec in (SPEC, LONG_SPEC):
        exact = predict(backbone, spec, reviews(6))
        rounded = predict(half, spec, reviews(6))
        for one, two in zip(exact, rounded, strict=True):
            for label in spec.labels:
                assert one.scores[label] == pytest.approx(two.scores[label], abs=0.5)


# PEFT asks transformers by a name that is on its way out.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_a_trained_prompt_is_the_same_in_peft(backbone: CausalBackbone, tmp_path: Path) -> None:
    task = Task.from_records(SPEC, reviews(60), split=(0.6, 0.2, 0.2))
    run = train(backbone, task, PromptTuning(), TrainConfig(steps=2, batch_rows=4), folder=tmp_path)
    prompt = Prompt.load(tmp_path / "prompt", backbone)
    ids = torch.tensor([SPEC.encode(task.test[0], backbone.tokenizer).context])
    batch = collate([(SPEC.encode(task.test[0], backbone.tokenizer), ())], read="next")
    with torch.no_grad():
        ours = backbone.forward(batch, prompt.injection())
        peft = PeftModel.from_pretrained(backbone.model, str(tmp_path / "prompt"))
        theirs = peft(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
    scale = float(theirs.abs().max())
    assert float((ours[0] - theirs).abs().max()) < 1e-5 * scale
    assert run.prompt.digest == prompt.digest
