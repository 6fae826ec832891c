"""Test vectors: the whole stack must still answer as it did."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cuecard.artifacts import Prompt
from cuecard.artifacts.test_vectors import TOLERANCE, default_probes, next_logprobs
from cuecard.backbones import CausalBackbone
from cuecard.errors import ArtifactError, ConfigError
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Encoded, Slot
from support.tiny import tiny_model, tiny_tokenizer


def test_they_hold_the_scores_of_label_words_and_top_tokens(
    prompt: Prompt, backbone: CausalBackbone, spec: TaskSpec
) -> None:
    probes = default_probes(spec, backbone, "prefix")
    rows = next_logprobs(backbone, prompt.injection(), probes)
    words = [ids[0] for ids in spec.continuations(backbone.tokenizer)]
    for vector, probe, row in zip(prompt.manifest.test_vectors, probes, rows, strict=True):
        assert vector.context == probe.context
        ids = list(vector.expected.token_ids)
        assert ids[: len(set(words))] == list(dict.fromkeys(words))
        assert int(row.argmax()) in ids
        assert torch.allclose(row[ids], torch.tensor(vector.expected.logprobs), atol=1e-4)
        assert row.exp().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("slot", ["prefix", "suffix"])
def test_default_probes_use_the_slot(backbone: CausalBackbone, spec: TaskSpec, slot: Slot) -> None:
    for probe in default_probes(spec, backbone, slot):
        assert probe.slot == (0 if slot == "prefix" else len(probe.context))
        assert probe.target == ()


def test_given_probes_are_stored(make_prompt: Any, backbone: CausalBackbone, folder: Path) -> None:
    probes = [Encoded((5, 6, 7), ()), Encoded((9,), ())]
    made = make_prompt(probes=probes)
    assert [vector.context for vector in made.manifest.test_vectors] == [(5, 6, 7), (9,)]
    made.save(folder, overwrite=True)
    Prompt.load(folder, backbone)


def test_too_many_probes_are_refused(make_prompt: Any) -> None:
    with pytest.raises(ConfigError, match="too many"):
        make_prompt(probes=[Encoded((5,), ())] * 65)


def test_wrong_expectation_is_refused_only_when_checked(
    folder: Path, alter: Any, backbone: CausalBackbone
) -> None:
    def change(document: dict[str, Any]) -> None:
        document["test_vectors"][1]["expected"]["logprobs"][0] += 0.01

    alter(change)
    with pytest.raises(ArtifactError, match="does not answer as it did") as caught:
        Prompt.load(folder, backbone)
    assert "test vector 1" in str(caught.value.where)
    assert Prompt.load(folder, backbone, check_vectors=False).nbytes == 640
    assert Prompt.load(folder).nbytes == 640


@pytest.mark.parametrize(
    "change",
    [
        lambda vector: vector["context"].append(384),
        lambda vector: vector["expected"]["token_ids"].__setitem__(0, 384),
        lambda vector: vector["expected"]["logprobs"].pop(),
        lambda vector: vector.update(slot=len(vector["context"]) + 1),
    ],
    ids=["context id", "expected id", "missing value", "slot past the end"],
)
def test_malformed_test_vector_is_refused(
    folder: Path, alter: Any, backbone: CausalBackbone, change: Any
) -> None:
    alter(lambda document: change(document["test_vectors"][0]))
    with pytest.raises(ArtifactError, match="malformed"):
        Prompt.load(folder, backbone)


def test_a_model_that_answers_otherwise_is_refused(prompt: Prompt, folder: Path) -> None:
    """A weight too small for the fingerprint's rounding, a hook, a changed kernel: all the same."""
    model = tiny_model("llama")
    model.lm_head.register_forward_hook(lambda module, inputs, output: output * 1.01)
    with pytest.raises(ArtifactError, match="does not answer as it did"):
        Prompt.load(folder, CausalBackbone(model, tiny_tokenizer(), "hooked"))
    model = tiny_model("llama")
    model.lm_head.register_forward_hook(lambda module, inputs, output: output * torch.nan)
    with pytest.raises(ArtifactError, match="does not answer as it did"):
        Prompt.load(folder, CausalBackbone(model, tiny_tokenizer(), "broken"))


def test_another_precision_is_within_its_tolerance(prompt: Prompt, folder: Path) -> None:
    half = CausalBackbone(tiny_model("llama").to(torch.bfloat16), tiny_tokenizer(), "bf16")
    Prompt.load(folder, half)
    expected = json.loads((folder / "prompt.json").read_bytes())["test_vectors"][0]["expected"]
    found = next_logprobs(
        half, prompt.injection(), [Encoded(prompt.manifest.test_vectors[0].context, ())]
    )
    off = (found[0][expected["token_ids"]] - torch.tensor(expected["logprobs"])).abs().max()
    assert TOLERANCE["float32"] < float(off) <= TOLERANCE["bfloat16"]
