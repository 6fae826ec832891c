"""PEFT as the oracle: the same vectors give the same logits, loss and gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from torch.nn.functional import cross_entropy

from cuecard.artifacts import Prompt, import_peft
from cuecard.artifacts.export import export
from cuecard.tasks.encoding.batching import collate
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Encoded, InputTokens, Record
from support.tiny import tiny_backbone, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

KINDS = ["llama", "gpt2", "qwen2", "qwen3", "opt", "bloom-alibi", "gemma2-softcap"]
LENGTH = 6
SPEC = TaskSpec(
    kind="classification", template="Review: {text}\nLabel:", labels=("negative", "positive")
)
TEXTS = ("warm and funny", "a gob of drivel so sickly sweet that everyone will gag", "true")


def start(width: int) -> torch.Tensor:
    return torch.randn(LENGTH, width, generator=torch.Generator().manual_seed(5)) * 0.3


def rows_of(kind: str) -> list[Encoded]:
    tokenizer = tiny_backbone(kind).tokenizer
    targets = ("negative", "positive", "positive")
    records = [Record({"text": t}, label) for t, label in zip(TEXTS, targets, strict=True)]
    return [SPEC.encode(record, tokenizer) for record in records]


def padded(rows: list[list[int]], pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and mask."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def their_next_logits(model: Any, rows: list[Encoded]) -> torch.Tensor:
    ids, mask = padded([list(row.context) for row in rows])
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits
    return torch.stack(
        [out[LENGTH + len(r.context) - 1] for out, r in zip(logits, rows, strict=True)]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exported", [False, True], ids=["saved", "exported"])
def test_peft_loads_our_folder_and_gives_our_logits(
    kind: str, exported: bool, tmp_path: Path
) -> None:
    backbone = tiny_backbone(kind)
    prompt = Prompt.create(
        start(backbone.hidden_size),
        backbone=backbone,
        spec=SPEC,
        method="prompt-tuning",
        method_config={"length": LENGTH},
        slot="prefix",
    )
    folder = prompt.save(tmp_path / "p")
    if exported:
        folder = export(prompt, tmp_path / "adapter", "peft")
    theirs: Any = PeftModel.from_pretrained(tiny_model(kind), str(folder)).eval()
    rows = rows_of(kind)
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad():
        ours = backbone.forward(batch, Prompt.load(tmp_path / "p", backbone).injection())
    expected = their_next_logits(theirs, rows)
    assert ours.shape == expected.shape
    assert torch.allclose(ours, expected, atol=1e-5, rtol=1e-5)
    without = backbone.forward(batch, None)
    assert not torch.allclose(without, expected, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_loss_are_pefts(kind: str) -> None:
    rows = rows_of(kind)
    backbone = tiny_backbone(kind)
    vectors = start(backbone.hidden_size).requires_grad_()
    batch = collate([(row, row.target) for row in rows], read="targets")
    loss = cross_entropy(backbone.forward(batch, InputTokens(vectors)), batch.target_ids)
    loss.backward()  # type: ignore[no-untyped-call]

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LENGTH)
    theirs: Any = get_peft_model(tiny_model(kind), config)
    embedding = theirs.prompt_encoder["default"].embedding.weight
    embedding.data.copy_(vectors.detach())
    ids, mask = padded([[*row.context, *row.target] for row in rows])
    labels, _ = padded([[-100] * len(row.context) + [*row.target] for row in rows], pad=-100)
    their_loss = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    their_loss.backward()

    assert vectors.grad is not None
    assert embedding.grad is not None
    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    assert float(embedding.grad.abs().max()) > 1e-4
    assert torch.allclose(vectors.grad, embedding.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_made_by_peft_predicts_the_same(kind: str, tmp_path: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=LENGTH)
    theirs: Any = get_peft_model(tiny_model(kind), config).eval()
    embedding = theirs.prompt_encoder["default"].embedding.weight
    embedding.data.copy_(start(embedding.shape[1]))
    theirs.save_pretrained(str(tmp_path / "theirs"))

    backbone = tiny_backbone(kind)
    rows = rows_of(kind)
    import_peft(tmp_path / "theirs", backbone, SPEC).save(tmp_path / "ours")
    prompt = Prompt.load(tmp_path / "ours", backbone)
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad():
        ours = backbone.forward(batch, prompt.injection())
    expected = their_next_logits(theirs, rows)
    assert torch.allclose(ours, expected, atol=1e-5, rtol=1e-5)
    words = torch.tensor([ids[0] for ids in SPEC.continuations(backbone.tokenizer)])
    assert torch.equal(ours[:, words].argmax(1), expected[:, words].argmax(1))
