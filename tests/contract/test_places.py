"""A prompt in several places of its template: on every way of running, by the plain formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cuecard.artifacts import Prompt
from cuecard.backbones import causal
from cuecard.errors import ArtifactError, ConfigError
from cuecard.methods import ATTEMPT, DeepPrompts, DePT, PromptTuning, PTuningV2
from cuecard.tasks import TaskSpec, collate
from cuecard.training import TrainConfig, read_log
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train
from cuecard.training.trainables.initial_method import new_method
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone, Encoded, Injection, InputTokens, Placement
from support.data.reviews import SPEC, TEXT_SPEC, review_task, reviews
from support.tiny import tiny_backbone

CAUSAL = ("llama", "gpt2", "bloom-alibi", "mistral-sliding", "gemma2-softcap")
KINDS = (*CAUSAL, "t5-gated", "bart")
EVEN = "{prompt}Review: {text}\n{prompt}Sentiment:{prompt}"
DEALT = "Review: {prompt:1}{text}\n{prompt:4}Sentiment:"
SIZES = {EVEN: (2, 2, 1), DEALT: (1, 4)}
templates = pytest.mark.parametrize("template", [EVEN, DEALT], ids=["even", "dealt"])
kinds = pytest.mark.parametrize("kind", KINDS)


def spec_of(template: str, base: TaskSpec = SPEC) -> TaskSpec:
    return base.model_copy(update={"template": template})


def rows_of(template: str, backbone: Backbone, base: TaskSpec = SPEC) -> list[Encoded]:
    spec = spec_of(template, base)
    return [spec.encode(record, backbone.tokenizer, "infix") for record in reviews(6)]


def vectors_of(count: int = 5) -> Tensor:
    return torch.randn(count, 32, generator=torch.Generator().manual_seed(0)) * 0.3


def forward(backbone: Backbone, rows: list[Encoded], given: Injection) -> Tensor:
    with torch.no_grad():
        return backbone.forward(collate([(row, ()) for row in rows], read="next"), given)


def with_places(embeds: Tensor, row: Encoded, vectors: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """[1, T + P, H] a row's embeddings [T, H] with the vectors dealt over its places."""
    parts, done = [], 0
    for at, dealt in zip(row.placement.slots, vectors.split(list(sizes)), strict=True):
        parts += [embeds[done:at], dealt]
        done = at
    return torch.cat([*parts, embeds[done:]])[None]


def plain(backbone: Any, row: Encoded, vectors: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """[V] the logits behind one row: no cache, no hook, no sharing."""
    model, embed = backbone.model, backbone.model.get_input_embeddings()
    encoder = model.config.is_encoder_decoder
    ends = (2,) if encoder else ()
    embeds = with_places(embed(torch.tensor([*row.context, *ends])), row, vectors, sizes)
    with torch.no_grad():
        if not encoder:
            return model(inputs_embeds=embeds).logits[0, -1]
        begin = torch.tensor([list(backbone._opening)])
        return model(inputs_embeds=embeds, decoder_input_ids=begin).logits[0, -1]


@kinds
@templates
def test_same_as_the_plain_formula(kind: str, template: str) -> None:
    backbone, vectors = tiny_backbone(kind), vectors_of()
    rows = rows_of(template, backbone)
    found = forward(backbone, rows, InputTokens(vectors))
    for row, logits in zip(rows, found, strict=True):
        expected = plain(backbone, row, vectors, SIZES[template])
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
        alone = forward(backbone, [row], InputTokens(vectors))[0]
        torch.testing.assert_close(alone, expected, atol=1e-4, rtol=1e-4)
    first = Encoded(rows[0].context, (), Placement.at(rows[0].slot))
    together = forward(backbone, [first], InputTokens(vectors))[0]
    assert not torch.allclose(together, found[0], atol=1e-3)


METHODS = {
    "prompt-tuning": PromptTuning(length=5, init="random", slot="infix"),
    "attempt": ATTEMPT(
        init="random",
        sources=torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(5)) * 0.1,
        bottleneck=4,
        slot="infix",
    ),
    "dept": DePT(length=5, init="random", rank=2, tokens=6, slot="infix"),
    "deep-prompts": DeepPrompts(length=5, init="random", slot="infix"),
}


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("name", METHODS)
@templates
def test_packed_is_padded_and_gradients_are_the_same(
    kind: str, name: str, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for length in (causal._PACKED_LENGTH, 0):
        monkeypatch.setattr(causal, "_PACKED_LENGTH", length)
        backbone = tiny_backbone(kind)
        method = new_method(backbone, SPEC, METHODS[name], seed=1)
        with torch.no_grad():
            for parameter in method.parameters():
                parameter.add_(0.05)
        rows = rows_of(template, backbone)
        batch = collate([(row, row.target) for row in rows])
        logits = backbone.forward(batch, method.injection())
        grads = torch.autograd.grad(logits.log_softmax(-1)[:, 7].sum(), list(method.parameters()))
        found.append((logits.detach(), grads))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-4, rtol=1e-4)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert float((one - other).norm()) <= 1e-3 * float(other.norm()) + 1e-5
        assert bool(one.any())


@kinds
@templates
def test_generation_is_the_likeliest_token_again_and_again(kind: str, template: str) -> None:
    backbone, vectors = tiny_backbone(kind), vectors_of()
    rows = rows_of(template, backbone)[:3]
    said = backbone.generate(
        [row.context for row in rows],
        [row.placement for row in rows],
        InputTokens(vectors),
        3,
    )
    for row, ids in zip(rows, said, strict=True):
        batch = collate([(row, (*ids, 0))])
        with torch.no_grad():
            best = backbone.forward(batch, InputTokens(vectors)).argmax(-1).tolist()
        assert best[: len(ids)] == ids


def test_a_late_prompt_remembers_what_comes_before_its_first_place(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    template = "Review: {text}\n{prompt}Sentiment:{prompt}"
    rows = rows_of(template, backbone)
    expected = forward(backbone, rows, InputTokens(vectors_of()))
    backbone.remember([row.context[: row.slot] for row in rows])
    backbone.reset_counts()
    found = forward(backbone, rows, InputTokens(vectors_of()))
    assert backbone.counts["remembered"] == sum(row.slot for row in rows)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    task = review_task(40, spec_of(template))
    train(backbone, task, METHODS["prompt-tuning"], TrainConfig(steps=2), folder=tmp_path)
    assert [row["place"] for row in read_log(tmp_path) if row["event"] == "inputs"] == ["memory"]
    early = spec_of(EVEN)
    train(backbone, review_task(40, early), METHODS["prompt-tuning"], TrainConfig(steps=1))
    assert not early.parsed.prompt_is_late


@templates
def test_the_folder_keeps_the_places(template: str, tmp_path: Path) -> None:
    backbone = tiny_backbone()
    task = review_task(40, spec_of(template))
    config = TrainConfig(steps=2, batch_rows=4)
    run = train(backbone, task, METHODS["prompt-tuning"], config, folder=tmp_path)
    prompt = Prompt.load(tmp_path / "prompt", backbone)  # runs the test vectors
    assert prompt.digest == run.prompt.digest and prompt.spec.template == template
    assert all(len(v.more) == len(SIZES[template]) - 1 for v in prompt.manifest.test_vectors)
    again = train(tiny_backbone(), task, METHODS["prompt-tuning"], config)
    assert again.prompt.digest == run.prompt.digest
    document = prompt.manifest.model_dump()
    document["test_vectors"][0]["more"] = document["test_vectors"][0]["more"][:-1]
    document["test_vectors"][0]["deal"] = (5,) * 9
    altered = Prompt(prompt.tensors, type(prompt.manifest).model_validate(document))
    folder = altered.save(tmp_path / "altered")
    with pytest.raises(ArtifactError, match="malformed"):
        Prompt.load(folder, backbone)


def test_a_text_is_said_from_several_places() -> None:
    template = "{prompt}Text: {text} {prompt}Title:"
    task = review_task(40, SPEC)
    spec = spec_of(template, TEXT_SPEC)
    titles = type(task).from_records(
        spec,
        [type(r)(r.fields, "good", r.source, r.row) for r in reviews(40)],
        split=(0.6, 0.2, 0.2),
    )
    run = train(tiny_backbone(), titles, METHODS["prompt-tuning"], TrainConfig(steps=1))
    assert run.test is not None


def test_one_place_is_written_as_ever() -> None:
    backbone = tiny_backbone()
    task = review_task(40, spec_of("Review: {text}\n{prompt}Sentiment:"))
    prompt = train(backbone, task, METHODS["prompt-tuning"], TrainConfig(steps=1)).prompt
    for vector in prompt.manifest.model_dump(mode="json")["test_vectors"]:
        assert set(vector) == {"context", "slot", "read", "expected", "dtype"}


def test_numbers_that_do_not_go_together() -> None:
    backbone = tiny_backbone()
    task = review_task(40, spec_of(DEALT))
    with pytest.raises(ConfigError, match=r"places another number(?s:.*)expected: 5"):
        train(backbone, task, PromptTuning(length=6, init="random", slot="infix"))
    # The text that it starts from has a length, too.
    for method in (PromptTuning(slot="infix"), PTuningV2(slot="infix")):
        late = review_task(40, spec_of("{text}\n{prompt:4}Sentiment:"))
        with pytest.raises(ConfigError, match=r"places another number(?s:.*)--length 4"):
            TrainSetup.of(backbone, late, TrainablePrompt(method), TrainConfig())
    with pytest.raises(ConfigError, match=r"places another number(?s:.*)at least 3"):
        train(backbone, review_task(40, spec_of(EVEN)), PromptTuning(length=2, slot="infix"))
    rows = rows_of(DEALT, backbone)
    with pytest.raises(ConfigError, match=r"do not go over(?s:.*)5 vectors"):
        forward(backbone, rows, InputTokens(vectors_of(6)))
    rows = rows_of(EVEN, backbone)
    with pytest.raises(ConfigError, match="at least 3 vectors"):
        forward(backbone, rows, InputTokens(vectors_of(2)))
    with pytest.raises(ConfigError, match="different places"):
        collate([(rows[0], ()), (rows_of(DEALT, backbone)[0], ())], read="next")
    assert forward(backbone, rows, InputTokens(vectors_of(0))).shape[0] == len(rows)
