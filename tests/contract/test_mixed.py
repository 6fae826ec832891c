"""A prompt that depends on the input: what is kept of a row serves it, its folder is checked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.artifacts.tensors import MIX_NAMES
from cuecard.errors import ArtifactError
from cuecard.evaluation.predict import predict
from cuecard.methods import ATTEMPT
from cuecard.tasks import TaskSpec, collate
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import InputTokens, Slot
from support.data.reviews import SPEC, reviews
from support.tiny import shared_backbone, tiny_backbone

SOURCES = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(5)) * 0.2


def mixed(slot: Slot, spec: TaskSpec = SPEC) -> InputTokens:
    """Different reviews get clearly different prompts."""
    settings = ATTEMPT(sources=SOURCES, init="random", slot=slot, temperature=0.05)
    injection = new_method(shared_backbone("llama"), spec, settings, 1).injection()
    assert isinstance(injection, InputTokens)
    return injection


@pytest.mark.parametrize("slot", ["suffix", "infix"])
def test_what_stands_before_it_is_kept(slot: Slot) -> None:
    backbone, records = tiny_backbone("llama"), reviews(8)
    place = "{prompt}" if slot == "infix" else ""
    spec = SPEC.model_copy(update={"template": f"Review: {{text}}\n{place}Sentiment:"})
    injection = mixed(slot, spec)
    rows = [spec.encode(record, backbone.tokenizer, slot) for record in records]
    batch = collate([(row, row.target) for row in rows])
    found = []
    for inputs in ((), [row.context[: row.slot] for row in rows]):
        backbone.remember(inputs)
        backbone.reset_counts()
        with torch.no_grad():
            logits = backbone.forward(batch, injection)
        scores = [one.scores for one in predict(backbone, spec, records, injection, slot=slot)]
        found.append((logits, torch.tensor([[*each.values()] for each in scores])))
    assert backbone.counts["remembered"] > 0
    for kept, run in zip(*found, strict=True):
        torch.testing.assert_close(kept, run, atol=1e-4, rtol=1e-4)


def test_rows_that_begin_alike_share_no_prompt() -> None:
    """Everything but the last word is the same, and no other row's prompt is taken for a row's."""
    backbone = shared_backbone("llama")
    injection, rows = mixed("prefix"), []
    for word in ("drivel", "wonderful", "film"):
        (one,) = reviews(1)
        text = f"it is all in all a {word}"
        rows.append(SPEC.encode(type(one)({"text": text}, None), backbone.tokenizer, "prefix"))
    batch = collate([(row, ()) for row in rows], read="next")
    with torch.no_grad(), backbone.sharing(rows, injection, contexts=True):
        together = backbone.forward(batch, injection)
    alone = [collate([(row, ())], read="next") for row in rows]
    with torch.no_grad():
        apart = torch.cat([backbone.forward(one, injection) for one in alone])
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def saved(folder: Path) -> Path:
    prompt = Prompt.create(
        mixed("prefix"),
        backbone=shared_backbone("llama"),
        spec=SPEC,
        method="attempt",
        method_config={},
        slot="prefix",
    )
    return prompt.save(folder / "prompt")


def test_its_folder_gives_the_same_prompt_back(tmp_path: Path) -> None:
    found = Prompt.load(saved(tmp_path), shared_backbone("llama")).injection()
    own = mixed("prefix")
    assert isinstance(found, InputTokens) and found.mix is not None and own.mix is not None
    assert torch.equal(found.vectors, own.vectors)
    assert found.mix.temperature == pytest.approx(own.mix.temperature)
    for name in ("sources", "down", "up", "norm", "norm_bias"):
        assert torch.equal(getattr(found.mix, name), getattr(own.mix, name))
    assert Prompt.load(saved(tmp_path)).adapter_config() is None


@pytest.mark.parametrize("name", MIX_NAMES)
def test_a_folder_with_a_part_of_a_mix_is_refused(tmp_path: Path, name: str) -> None:
    """Though the manifest's digest is right."""
    folder = saved(tmp_path)
    manifest = Prompt.load(folder).manifest
    left = {key: entry for key, entry in manifest.tensors.items() if key != name}
    forged = manifest.model_copy(update={"tensors": left})
    (folder / "prompt.json").write_bytes(forged.to_bytes())
    with pytest.raises(ArtifactError, match="does not list exactly the prompt's tensors"):
        Prompt.load(folder)
