"""PEFT as the oracle on encoder-decoders: forward, generate, and adapters in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from cuecard.artifacts import Prompt, import_peft
from cuecard.artifacts.export import export
from cuecard.errors import ArtifactError, ConfigError
from cuecard.tasks import collate
from cuecard.types import Encoded, InputTokens, Placement
from support.data.reviews import SPEC, reviews
from support.oracles.seq2seq import ENDS, OPENINGS
from support.tiny import tiny_backbone, tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

LENGTH = 6
# BART-like models whose embeddings are scaled inside the embedding layer have the same form here
# and in PEFT; Marian's are scaled behind it, where PEFT leaves it out.
KINDS = ["t5-relu", "t5-gated", "bart", "mbart-scaled"]
SCALED = ["marian-scaled"]


def start() -> torch.Tensor:
    return torch.randn(LENGTH, 32, generator=torch.Generator().manual_seed(5)) * 0.3


def rows_of(kind: str) -> list[Encoded]:
    return [SPEC.encode(record, tiny_backbone(kind).tokenizer) for record in reviews(5)]


def padded(rows: list[list[int]], pad: int = 0) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])


def inputs(rows: list[Encoded]) -> dict[str, torch.Tensor]:
    ids = [[*row.context, *ENDS] for row in rows]
    return {"input_ids": padded(ids), "attention_mask": padded([[1] * len(row) for row in ids])}


def their_next_logits(model: Any, kind: str, rows: list[Encoded]) -> torch.Tensor:
    begin = torch.tensor([OPENINGS[kind]] * len(rows))
    with torch.no_grad():
        found: torch.Tensor = model(**inputs(rows), decoder_input_ids=begin).logits[:, -1]
    return found


def made(kind: str) -> Prompt:
    return Prompt.create(
        start(),
        backbone=tiny_backbone(kind),
        spec=SPEC,
        method="prompt-tuning",
        method_config={"length": LENGTH},
        slot="prefix",
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exported", [False, True], ids=["saved", "exported"])
def test_peft_loads_our_folder_and_answers_alike(kind: str, exported: bool, tmp_path: Path) -> None:
    prompt, backbone, rows = made(kind), tiny_backbone(kind), rows_of(kind)
    folder = prompt.save(tmp_path / "p")
    if exported:
        folder = export(prompt, tmp_path / "adapter", "peft")
    theirs: Any = PeftModel.from_pretrained(tiny_model(kind), str(folder)).eval()
    assert theirs.peft_config["default"].task_type == "SEQ_2_SEQ_LM"
    batch = collate([(row, ()) for row in rows], read="next")
    injection = Prompt.load(tmp_path / "p", backbone).injection()
    with torch.no_grad():
        ours = backbone.forward(batch, injection)
    expected = their_next_logits(theirs, kind, rows)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(backbone.forward(batch, None), expected, atol=1e-2)

    contexts, slots = [row.context for row in rows], [Placement()] * len(rows)
    answers = backbone.generate(contexts, slots, injection, 6)
    begun = len(OPENINGS[kind])
    generated = theirs.generate(
        **inputs(rows), max_new_tokens=6 + begun - 1, do_sample=False, use_cache=False
    )
    for found, said in zip(answers, generated[:, begun:].tolist(), strict=True):
        assert found == (said[: said.index(2)] if 2 in said else said)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradient_are_pefts(kind: str) -> None:
    backbone, rows = tiny_backbone(kind), rows_of(kind)
    vectors = start().requires_grad_()
    targets = [(*row.target, 2) for row in rows]
    batch = collate(list(zip(rows, targets, strict=True)))
    loss = cross_entropy(backbone.forward(batch, InputTokens(vectors)), batch.target_ids)
    loss.backward()  # type: ignore[no-untyped-call]

    config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=LENGTH)
    theirs: Any = get_peft_model(tiny_model(kind), config).eval()
    embedding = theirs.prompt_encoder["default"].embedding.weight
    embedding.data[:LENGTH].copy_(vectors.detach())
    begun = OPENINGS[kind]
    given = padded([[*begun, *target[:-1]] for target in targets])
    labels = padded([[-100] * (len(begun) - 1) + [*target] for target in targets], pad=-100)
    logits = theirs(**inputs(rows), decoder_input_ids=given).logits
    their_loss = cross_entropy(logits.flatten(0, 1), labels.flatten())
    their_loss.backward()

    assert vectors.grad is not None and embedding.grad is not None
    assert loss.item() == pytest.approx(their_loss.item(), abs=1e-5)
    assert float(embedding.grad.abs().max()) > 1e-4
    torch.testing.assert_close(vectors.grad, embedding.grad[:LENGTH], atol=1e-5, rtol=1e-4)
    # The trap that `import_peft` knows of: half of PEFT's rows never reach the model.
    assert embedding.shape == (2 * LENGTH, 32)
    assert not bool(embedding.grad[LENGTH:].any())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("submodules", [None, 1, 2])
def test_an_adapter_made_by_peft_answers_alike(
    kind: str, submodules: int | None, tmp_path: Path
) -> None:
    config = PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=LENGTH, num_transformer_submodules=submodules
    )
    theirs: Any = get_peft_model(tiny_model(kind), config).eval()
    embedding = theirs.prompt_encoder["default"].embedding.weight
    embedding.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
    theirs.save_pretrained(str(tmp_path / "theirs"))
    stored = load_file(tmp_path / "theirs" / "adapter_model.safetensors")["prompt_embeddings"]
    assert len(stored) == LENGTH * (submodules or 2)

    backbone, rows = tiny_backbone(kind), rows_of(kind)
    import_peft(tmp_path / "theirs", backbone, SPEC).save(tmp_path / "ours")
    prompt = Prompt.load(tmp_path / "ours", backbone)
    assert len(prompt.vectors) == LENGTH
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad():
        ours = backbone.forward(batch, prompt.injection())
    torch.testing.assert_close(ours, their_next_logits(theirs, kind, rows), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", SCALED)
def test_where_peft_leaves_out_a_scale_there_is_no_common_form(kind: str, tmp_path: Path) -> None:
    prompt, backbone = made(kind), tiny_backbone(kind)
    assert backbone.peft_task is None and prompt.adapter_config() is None
    folder = prompt.save(tmp_path / "p")
    assert not (folder / "adapter_config.json").exists()
    with pytest.raises(ConfigError, match="no format for this prompt"):
        export(prompt, tmp_path / "adapter", "peft")
    config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=LENGTH)
    theirs: Any = get_peft_model(tiny_model(kind), config).eval()
    theirs.prompt_encoder["default"].embedding.weight.data[:LENGTH].copy_(start())
    rows = rows_of(kind)
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad():
        ours = backbone.forward(batch, prompt.injection())
    assert not torch.allclose(ours, their_next_logits(theirs, kind, rows), atol=1e-2)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    with pytest.raises(ArtifactError, match="does not run this backbone as"):
        import_peft(tmp_path / "theirs", backbone, SPEC)


def test_adapters_of_the_other_family_are_refused(tmp_path: Path) -> None:
    made("bart").save(tmp_path / "p")
    with pytest.raises(ArtifactError, match="cannot be imported"):
        import_peft(tmp_path / "p", tiny_backbone("llama"), SPEC)
    config = json.loads((tmp_path / "p" / "adapter_config.json").read_text())
    config["num_transformer_submodules"] = 3
    (tmp_path / "p" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match="cannot be imported"):
        import_peft(tmp_path / "p", tiny_backbone("bart"), SPEC)
