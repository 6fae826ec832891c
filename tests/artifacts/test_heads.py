"""Prompts with a head: what is kept, what is refused, what others read of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file, save_file

from cuecard.artifacts import Prompt
from cuecard.artifacts.export import export
from cuecard.artifacts.manifest import Manifest, TensorEntry
from cuecard.artifacts.tensors import HEAD_BIAS, HEAD_TFIDF, HEAD_WEIGHT
from cuecard.errors import ArtifactError, ConfigError
from cuecard.tasks import TaskSpec
from cuecard.types import Head, InputTokens, PrefixKV, TokenTfidf
from support.data.head_tasks import HEAD_SPEC, NUMBER, TAGS
from support.data.reviews import SPEC
from support.tiny import tiny_backbone, tiny_model


def make(spec: TaskSpec = HEAD_SPEC, seed: int = 0) -> Prompt:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(5, 32, generator=generator) * 0.3
    head = Head(
        torch.randn(spec.outputs, 32, generator=generator),
        torch.randn(spec.outputs, generator=generator),
    )
    return Prompt.create(
        InputTokens(vectors),
        backbone=tiny_backbone(),
        spec=spec,
        method="prompt-tuning",
        method_config={"length": 5},
        slot="prefix",
        head=head if spec.mode == "head" else None,
        created_with={},
    )


@pytest.mark.parametrize("spec", [HEAD_SPEC, NUMBER, TAGS], ids=lambda spec: spec.kind)
def test_round_trip(spec: TaskSpec, tmp_path: Path) -> None:
    prompt = make(spec)
    loaded = Prompt.load(prompt.save(tmp_path / "p"), tiny_backbone())
    head, before = loaded.head(), prompt.head()
    assert head is not None and before is not None
    assert torch.equal(head.weight, before.weight) and torch.equal(head.bias, before.bias)
    assert loaded.digest == prompt.digest and loaded.spec == spec
    assert all(len(vector.head) == spec.outputs for vector in loaded.manifest.test_vectors)


def make_pooled(layers: tuple[int, ...] = (0, 1), counted: Sequence[float] | None = None) -> Prompt:
    backbone = tiny_backbone()
    heads, size = backbone.key_shape
    width = backbone.head_width(layers)
    assert width == 32 + len(layers) * heads * size
    generator = torch.Generator().manual_seed(3)
    spec = HEAD_SPEC.with_head("pooled" if layers else "trained")
    tfidf = None if counted is None else TokenTfidf(torch.tensor(counted), torch.ones(len(counted)))
    width += len(counted or ())
    weight = torch.randn(spec.outputs, width, generator=generator)
    head = Head(weight, torch.zeros(2), layers, tfidf)
    return Prompt.create(
        PrefixKV(torch.randn(2, 2, heads, 3, size, generator=generator), late=True),
        backbone=backbone,
        spec=spec,
        method="p-tuning-v2",
        method_config={"length": 3},
        slot="infix",
        head=head,
        created_with={},
    )


def test_a_pooled_head_keeps_the_layers_that_it_reads(tmp_path: Path) -> None:
    prompt = make_pooled()
    folder = prompt.save(tmp_path / "p")
    loaded = Prompt.load(folder, tiny_backbone())  # its test vectors hold
    head = loaded.head()
    assert head is not None and head.layers == (0, 1) and loaded.spec.head == "pooled"
    assert (loaded.manifest.head, loaded.manifest.head_layers) == ("pooled", (0, 1))
    outputs = {make_pooled(x).manifest.test_vectors[0].head for x in ((0, 1), (1,), ())}
    assert len(outputs) == 3


def test_a_pooled_head_keeps_the_tokens_that_it_counts(tmp_path: Path) -> None:
    prompt = make_pooled(counted=[3, 17, 40])
    head = Prompt.load(prompt.save(tmp_path / "p"), tiny_backbone()).head()
    assert head is not None and head.tfidf is not None
    assert head.tfidf.ids.tolist() == [3, 17, 40] and head.tfidf.ids.dtype == torch.int64
    (vector, *_), (alone, *_) = (
        each.manifest.test_vectors for each in (prompt, make_pooled(counted=[900]))
    )
    assert len(vector.head) == 2 and vector.head != alone.head


@pytest.mark.parametrize(
    "ids", [[7, 3], [3, 3], [-1, 2], [1.5, 2], [5, 10**6]], ids=lambda ids: str(ids)
)
def test_tokens_that_are_none_are_refused(tmp_path: Path, ids: list[float]) -> None:
    folder = make_pooled(counted=[3, 17]).save(tmp_path / "p")
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors[HEAD_TFIDF][0] = ids
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    document = json.loads((folder / "prompt.json").read_text())
    document["tensors"][HEAD_TFIDF] = TensorEntry.of(tensors[HEAD_TFIDF]).model_dump(mode="json")
    del document["digest"]
    path = folder / "prompt.json"
    path.write_bytes(Manifest.model_validate_json(json.dumps(document)).to_bytes())
    with pytest.raises(ArtifactError, match="counts tokens that are no tokens"):
        Prompt.load(folder)


@pytest.mark.parametrize(
    "changes",
    [{"head_layers": [0, 2]}, {"head_layers": []}, {"head": "linear"}],
    ids=["a layer too many", "no layers", "linear"],
)
def test_layers_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    folder = make_pooled().save(tmp_path / "p")
    path = folder / "prompt.json"
    document = json.loads(path.read_text()) | changes
    del document["digest"]
    path.write_bytes(Manifest.model_validate_json(json.dumps(document)).to_bytes())
    with pytest.raises(ArtifactError, match="does not read what its task says"):
        Prompt.load(folder)


def test_a_prompt_without_a_head_says_nothing_of_heads(tmp_path: Path) -> None:
    folder = make(SPEC).save(tmp_path / "p")
    document = json.loads((folder / "prompt.json").read_text())
    assert "head" not in document and all("head" not in v for v in document["test_vectors"])
    assert set(document["task"]) == {
        "kind",
        "template",
        "chat",
        "system",
        "labels",
        "words",
        "target_field",
        "max_length",
        "normalize",
        "max_new_tokens",
    }


def test_an_altered_head_is_refused(tmp_path: Path) -> None:
    folder = make().save(tmp_path / "p")
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    tensors[HEAD_BIAS] = tensors[HEAD_BIAS] + np.float32(1e-3)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ArtifactError, match="altered"):
        Prompt.load(folder)


@pytest.mark.parametrize("gone", [HEAD_WEIGHT, HEAD_BIAS])
def test_half_a_head_is_refused(gone: str, tmp_path: Path) -> None:
    prompt = make()
    entries = {k: v for k, v in prompt.manifest.tensors.items() if k != gone}
    manifest = prompt.manifest.model_copy(update={"tensors": entries})
    kept = {k: v for k, v in prompt.tensors.items() if k != gone}
    with pytest.raises(ArtifactError, match="head"):
        Prompt(kept, manifest).save(tmp_path / "p")


def test_a_head_that_its_task_does_not_have_is_refused(tmp_path: Path) -> None:
    prompt = make()
    manifest = prompt.manifest.model_copy(update={"task": SPEC.model_dump(mode="json")})
    with pytest.raises(ArtifactError, match="head"):
        Prompt(prompt.tensors, manifest).save(tmp_path / "p")


def test_test_vectors_hold_the_head(tmp_path: Path) -> None:
    prompt = make()
    vectors = tuple(
        v.model_copy(update={"head": tuple(x + 0.1 for x in v.head)})
        for v in prompt.manifest.test_vectors
    )
    manifest = prompt.manifest.model_copy(update={"test_vectors": vectors})
    folder = Prompt(prompt.tensors, manifest).save(tmp_path / "p")
    with pytest.raises(ArtifactError, match="as it did"):
        Prompt.load(folder, tiny_backbone())
    none = tuple(v.model_copy(update={"head": ()}) for v in prompt.manifest.test_vectors)
    manifest = prompt.manifest.model_copy(update={"test_vectors": none})
    folder = Prompt(prompt.tensors, manifest).save(tmp_path / "q")
    with pytest.raises(ArtifactError, match="as it did"):
        Prompt.load(folder, tiny_backbone())


@pytest.mark.parametrize("place", [0, -1])
def test_an_output_that_is_not_a_number_is_another_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    folder = make().save(tmp_path / "p")

    def broken(self: Head, states: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.linear(states, self.weight, self.bias)
        found[:, place] = torch.nan
        return found

    monkeypatch.setattr(Head, "__call__", broken)
    with pytest.raises(ArtifactError, match="as it did"):
        Prompt.load(folder, tiny_backbone())


def test_heads_that_do_not_fit_are_refused() -> None:
    backbone = tiny_backbone()
    fields = {"backbone": backbone, "method": "m", "method_config": {}, "slot": "prefix"}
    vectors = torch.zeros(2, 32)
    for spec, head in (
        (HEAD_SPEC, None),
        (SPEC, Head(torch.zeros(2, 32), torch.zeros(2))),
        (HEAD_SPEC, Head(torch.zeros(3, 32), torch.zeros(3))),
        (HEAD_SPEC, Head(torch.zeros(2, 16), torch.zeros(2))),
    ):
        with pytest.raises(ConfigError, match="head"):
            Prompt.create(vectors, spec=spec, head=head, **fields)  # type: ignore[arg-type]
    nan = Head(torch.full((2, 32), torch.nan), torch.zeros(2))
    with pytest.raises(ArtifactError, match="NaN"):
        Prompt.create(vectors, spec=HEAD_SPEC, head=nan, **fields)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_peft_reads_the_injection_and_passes_over_the_head(tmp_path: Path) -> None:
    prompt = make()
    folder = prompt.save(tmp_path / "p")
    model = PeftModel.from_pretrained(tiny_model(), str(folder)).eval()
    ids = torch.tensor([prompt.manifest.test_vectors[0].context])
    with torch.no_grad():
        theirs = model(input_ids=ids).logits[0, -1].log_softmax(-1)
    from_head = Prompt.load(folder, tiny_backbone())
    expected = from_head.manifest.test_vectors[0].expected
    found = theirs[list(expected.token_ids)]
    torch.testing.assert_close(found, torch.tensor(expected.logprobs), atol=1e-3, rtol=1e-3)


def test_exports(tmp_path: Path) -> None:
    prompt = make()
    tensors = load_file(export(prompt, tmp_path / "p.safetensors", "safetensors"))
    assert set(tensors) == {"prompt_embeddings", HEAD_WEIGHT, HEAD_BIAS}
    for form in ("peft", "peft-p-tuning", "peft-multitask"):
        with pytest.raises(ConfigError, match="head") as caught:
            export(prompt, tmp_path / form, form)
        assert "safetensors" in str(caught.value) and not (tmp_path / form).exists()
    with pytest.raises(ConfigError, match="npy file cannot"):
        export(prompt, tmp_path / "p.npy", "npy")
