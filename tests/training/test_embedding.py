"""Prompts for encoders: trained by the one loop, kept, gone on with, and better than none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from cuecard.artifacts import Prompt
from cuecard.comparison.prove import prove
from cuecard.errors import ArtifactError, ConfigError, DataError
from cuecard.evaluation.embedding import embed, retrieve
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.predict import predict
from cuecard.methods import DeepPrompts, PromptTuning, PTuningV2
from cuecard.training import SweepConfig, TrainConfig
from cuecard.training.sweep import sweep
from cuecard.training.train import train
from cuecard.types import InputTokens, Record
from support.data.pairs import SPEC, pair_task, pairs
from support.tiny import tiny_backbone, tiny_encoder

CONFIG = TrainConfig(steps=40, batch_rows=8, eval_every=10)


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_vectors_are_those_of_the_plain_model(kind: str) -> None:
    backbone, texts = tiny_encoder(kind), [r.fields["text"] for r in pairs(5)]
    found = embed(backbone, SPEC, texts, batch_rows=2)
    for text, vector in zip(texts, found, strict=True):
        ids = torch.tensor([backbone.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            hidden = backbone.model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(vector, normalize(hidden.mean(0), dim=0), atol=1e-5, rtol=1e-4)
    with pytest.raises(DataError, match="not a list of texts"):
        embed(backbone, SPEC, "good fox")


def test_a_prompts_places_are_not_pooled() -> None:
    backbone = tiny_encoder()
    vectors = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    (found,) = embed(backbone, SPEC, ["good fox"], InputTokens(vectors))
    words = backbone.model.get_input_embeddings()(
        torch.tensor(backbone.tokenizer("good fox")["input_ids"])
    )
    embeds = torch.cat([words[:1], vectors, words[1:]])
    with torch.no_grad():
        hidden = backbone.model(inputs_embeds=embeds[None]).last_hidden_state[0]
    own = torch.cat([hidden[:1], hidden[5:]]).mean(0)
    torch.testing.assert_close(found, normalize(own, dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "method",
    [
        PromptTuning(length=4, init="random"),
        PromptTuning(length=4, init="random", slot="suffix"),
        PTuningV2(length=4, init="random"),
        DeepPrompts(length=4, init="random"),
    ],
)
def test_training_finds_more_and_is_kept(method: Any, tmp_path: Path) -> None:
    backbone, task, events = tiny_encoder(), pair_task(), []
    digest = backbone.digest()
    run = train(backbone, task, method, CONFIG, folder=tmp_path, observer=events.append)
    assert backbone.digest() == digest and run.alarm is None
    assert run.test is not None and run.test.primary == "recall@1"
    again = Prompt.load(tmp_path / "prompt", tiny_encoder())
    assert again.digest == run.prompt.digest and again.manifest == run.prompt.manifest
    assert {v.read for v in again.manifest.test_vectors} == {"pooled"}
    how = {"slot": method.slot}
    assert evaluate(backbone, SPEC, task.test, again.injection(), **how).score == run.test.score
    losses = [e["validation_loss"] for e in events if e["event"] == "validation"]
    assert min(losses) == run.validation.loss < losses[0]


def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    method = PromptTuning(length=4, init="random")
    whole = train(tiny_encoder(), pair_task(), method, CONFIG, folder=tmp_path / "whole")
    seen = 0

    class Killed(Exception):
        """Stands for a death."""

    def die(event: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        if seen == 30:
            raise Killed

    with pytest.raises(Killed):
        train(tiny_encoder(), pair_task(), method, CONFIG, folder=tmp_path / "cut", observer=die)
    cut = train(tiny_encoder(), pair_task(), method, CONFIG, folder=tmp_path / "cut")
    assert cut.prompt.digest == whole.prompt.digest


def test_a_sweep(tmp_path: Path) -> None:
    found = sweep(
        tiny_encoder(),
        pair_task(),
        SweepConfig(grid={"seed": (0, 1)}),
        PromptTuning(length=4, init="random"),
        TrainConfig(steps=4, batch_rows=4),
        folder=tmp_path,
    )
    assert found.runs[""].prompt.spec.kind == "embedding"


def test_the_comparison_is_with_the_encoder_itself() -> None:
    backbone, task = tiny_encoder(), pair_task()
    run = train(backbone, task, PromptTuning(length=4, init="random"), TrainConfig(steps=4))
    proof = prove(backbone, task, run)
    before = evaluate(backbone, SPEC, task.test)
    assert proof.rows[0].score == before.score and proof.rows[-1].score == run.test.score  # type: ignore[union-attr]
    assert proof.report["gain"] == pytest.approx(run.test.score - before.score)  # type: ignore[union-attr]
    assert [row.prompt for row in proof.rows] == ["no prompt", "TF-IDF", "trained: prompt-tuning"]
    best = max(row.score for row in proof.rows[:2])
    assert proof.report["gain_best"] == pytest.approx(run.test.score - best)  # type: ignore[union-attr]


def test_looking_up() -> None:
    backbone, records = tiny_encoder(), pairs(6)
    same = [Record({"text": r.target or ""}, r.target) for r in records]
    found = retrieve(backbone, SPEC, [*same, same[0]], None)
    assert [p.answer for p in found] == [r.target for r in [*same, same[0]]]
    assert all(len(p.scores) == 6 for p in found), "a text that two records share counts once"
    assert next(iter(found[0].scores.values())) == pytest.approx(1.0, abs=1e-5)
    assert retrieve(backbone, SPEC, [], None) == []
    result = evaluate(backbone, SPEC, same)
    assert result.metrics == {"recall@1": 1.0, "recall@5": 1.0, "recall@10": 1.0, "mrr@10": 1.0}


def test_equal_texts_run_once() -> None:
    backbone = tiny_encoder()
    backbone.reset_counts()
    embed(backbone, SPEC, ["good fox"] * 5)
    once = backbone.counts["tokens"]
    backbone.reset_counts()
    embed(backbone, SPEC, ["good fox"])
    assert backbone.counts["tokens"] == once


def test_what_is_refused(tmp_path: Path) -> None:
    backbone, events = tiny_backbone("llama"), []
    with pytest.raises(ConfigError, match="no states to read"):
        train(backbone, pair_task(), observer=events.append)
    assert not events
    with pytest.raises(ConfigError, match="has vectors, not answers"):
        predict(tiny_encoder(), SPEC, pairs(2))
    with pytest.raises(ConfigError, match="a loss of its own"):
        train(
            tiny_encoder(), pair_task(), PromptTuning(length=2), TrainConfig(steps=1, loss="tokens")
        )
    with pytest.raises(DataError, match="cannot be evaluated"):
        evaluate(tiny_encoder(), SPEC, [Record({"text": "a"}, None)])
    run = train(tiny_encoder(), pair_task(), PromptTuning(length=2), TrainConfig(steps=1))
    run.prompt.save(tmp_path / "p")
    other = tiny_encoder()
    plain = other.model.encoder.layer[0].output.dense.forward
    other.model.encoder.layer[0].output.dense.forward = lambda x: plain(x) * 0.2
    with pytest.raises(ArtifactError, match="coordinates that differ"):
        Prompt.load(tmp_path / "p", other)
