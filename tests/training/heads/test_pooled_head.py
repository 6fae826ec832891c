"""A head with a second reader: what is fitted after a training, and kept."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from cuecard.artifacts import Prompt
from cuecard.cli.views.event_text import event_text
from cuecard.errors import ConfigError
from cuecard.evaluation.heads import head_outputs
from cuecard.evaluation.predict import predict
from cuecard.methods import PromptTuning, PTuningV2
from cuecard.training import TrainConfig, read_log, trainer
from cuecard.training.heads.pooled_head import _weights, pool
from cuecard.training.heads.token_tfidf import fit_tfidf
from cuecard.training.race.auto import auto
from cuecard.training.race.plan import RacePlan
from cuecard.training.race.stages import cut
from cuecard.training.setup import TrainSetup
from cuecard.training.train import train
from cuecard.training.trainables.head import head_of, start_head
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Head, Record
from support.data.reviews import SPEC, review_task
from support.dying import Killed, counted
from support.tiny import tiny_backbone

LATE = PTuningV2(length=4, slot="infix")
CONFIG = TrainConfig(steps=6, eval_every=3, checkpoint_every=1)


def pooled_task(rows: int = 80) -> Any:
    return review_task(rows, SPEC.with_head("pooled"))


@pytest.fixture(scope="module")
def setup() -> TrainSetup:
    return TrainSetup.of(tiny_backbone(), pooled_task(), TrainablePrompt(LATE), TrainConfig())


def told_by_words(setup: TrainSetup) -> TrainSetup:
    """The same with texts of three words, each of which speaks for one label."""
    draw = random.Random(0)
    known = (word.strip("Ġ▁") for word in sorted(tiny_backbone().tokenizer.get_vocab()))
    words = [word for word in known if word.isalpha() and len(word) > 2]

    def of_words(records: Sequence[Record]) -> Iterator[Record]:
        for record in records:
            chosen = draw.sample(range(len(words)), 3)
            label = SPEC.labels[sum(number % 2 for number in chosen) > 1]
            text = " ".join(words[number] for number in chosen)
            yield replace(record, fields={"text": text}, target=label)

    task = setup.task
    train, validation = (tuple(of_words(rows * 4)) for rows in (task.train, task.validation))
    return replace(setup, task=replace(task, train=train, validation=validation))


@pytest.mark.parametrize("counts", [False, True])
def test_it_adds_what_the_input_says_to_what_the_state_says(
    setup: TrainSetup, counts: bool
) -> None:
    setup = told_by_words(setup) if counts else setup
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.randn(2, 32, generator=generator) * 0.1, torch.zeros(2))
    method = setup.new_method()
    start_head(method, head)
    injection, before = method.injection(), setup.validate(method).loss
    found = pool(setup, method)
    assert found.values > 0 and (found.tfidf > 0) is counts
    assert setup.validate(method).loss < before
    pooled = head_of(method)
    assert pooled is not None
    rows = setup.spec.encode_rows(setup.task.test, setup.backbone.tokenizer, "infix")
    ours, alone = (
        torch.cat(
            [
                torch.from_numpy(each)
                for each in head_outputs(setup.backbone, rows, injection, one, batch_rows=8)
            ]
        )
        for one in (pooled, head)
    )
    inputs = [row.context[: row.slot] for row in rows]
    means = setup.backbone.value_means(inputs, pooled.layers)
    if pooled.tfidf is not None:
        means = torch.cat([means, pooled.tfidf(inputs)], 1)
    read = means.double()
    added = found.state * alone + read @ pooled.weight[:, 32:].double().T
    added = added + (pooled.bias - found.state * head.bias)
    torch.testing.assert_close(ours, added, atol=1e-4, rtol=1e-4)


def test_a_reader_that_knows_nothing_is_not_heard(setup: TrainSetup) -> None:
    blank = [replace(record, fields={"text": "the same"}) for record in setup.task.train]
    same = replace(setup, task=replace(setup.task, train=tuple(blank)))
    method = same.new_method()
    pool(same, method)
    head = head_of(method)
    assert head is not None
    outputs = head_outputs(
        setup.backbone,
        setup.spec.encode_rows(setup.task.test, setup.backbone.tokenizer, "infix"),
        method.injection(),
        head,
        batch_rows=8,
    )
    spread = torch.tensor([out[-1].tolist() for out in outputs]).softmax(-1)
    assert float(spread.std(0).max()) < 0.05


@pytest.mark.parametrize("trusted", ["state", "values", "neither"])
def test_a_reader_that_is_wrong_is_left_out(trusted: str) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(40) % 2
    told = torch.nn.functional.one_hot(labels, 2).double()
    noise = torch.randn(3, 40, 2, generator=generator, dtype=torch.float64) * 0.7
    right, wrong = told + noise[0], [noise[1] - told, noise[2] - told]
    state, values = (right if trusted == name else wrong.pop() for name in ("state", "values"))
    first, second = _weights(torch.stack([state, values]), labels)
    if trusted == "neither":
        assert (first, second) == (1.0, 0.0)
        return
    assert (first > 0, second > 0) == (trusted == "state", trusted == "values")
    outputs = first * state + second * values
    alone = [torch.nn.functional.cross_entropy(w * right, labels) for w in (0.5, 1.0, 2.0)]
    assert float(torch.nn.functional.cross_entropy(outputs, labels)) <= float(min(alone)) + 1e-2


def test_words_are_counted_only_where_the_validation_rows_clearly_say_so(
    setup: TrainSetup,
) -> None:
    generator = torch.Generator().manual_seed(2)
    mixed = torch.randperm(len(setup.task.train), generator=generator).tolist()
    targets = [setup.task.train[number].target for number in mixed]
    rows = zip(setup.task.train, targets, strict=True)
    shuffled = tuple(replace(record, target=target) for record, target in rows)
    other = replace(setup, task=replace(setup.task, train=shuffled))
    method = other.new_method()
    found = pool(other, method)
    head = head_of(method)
    assert head is not None and head.tfidf is None and found.tfidf == 0.0


def test_words_of_rows_that_a_budget_leaves_no_time_to_run_are_counted(
    setup: TrainSetup,
) -> None:
    whole = told_by_words(setup)
    few = cut(whole, RacePlan(("",), 0, {"": 1}, 40, len(whole.task.validation)))
    assert len(few.task.train) == 40 and len(few.unrun) == len(whole.task.train) - 40
    method = few.new_method()
    tokens = few.backbone.counts["tokens"]
    assert pool(few, method).tfidf > 0
    held_out = few.spec.encode_rows(few.task.validation, few.backbone.tokenizer, "infix")
    run = sum(len(row.context) for row in (*few.rows, *held_out, *held_out))
    assert few.backbone.counts["tokens"] - tokens <= run
    encoded = whole.spec.encode_rows(whole.task.train, whole.backbone.tokenizer, "infix")
    of_all = fit_tfidf([row.context[: row.slot] for row in encoded])
    head = head_of(method)
    assert head is not None and head.tfidf is not None and of_all is not None
    assert torch.equal(head.tfidf.ids, of_all.ids)


def test_tokens_of_one_row_and_of_all_rows_are_not_counted() -> None:
    inputs = [(9, 4, 4, 7), (9, 4, 2), (9, 7, 8), (9, 3)]
    tfidf = fit_tfidf(inputs)
    assert tfidf is not None and tfidf.ids.tolist() == [4, 7]
    texts = [" ".join(map(str, ids)) for ids in inputs]
    sklearns = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\d+", vocabulary=["4", "7"])
    wanted = sklearns.fit(texts).transform([*texts, "5 7 7 7 4", "1"]).toarray()
    more = [*inputs, (5, 7, 7, 7, 4), (1,)]
    torch.testing.assert_close(tfidf(more), torch.from_numpy(wanted).float())
    assert fit_tfidf([(1, 2), (1, 3)]) is None


def test_a_rate_is_chosen_before_anything_is_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled: list[int] = []

    def counting(setup: TrainSetup, method: Any) -> Any:
        pooled.append(1)
        return pool(setup, method)

    monkeypatch.setattr(trainer, "pool", counting)
    run = train(tiny_backbone(), pooled_task(), LATE, CONFIG.model_copy(update={"lr": "auto"}))
    assert len(pooled) == 1 and run.prompt.head() is not None


def test_a_run_is_pooled_once_however_often_it_is_killed(tmp_path: Path) -> None:
    def run(folder: Path, backbone: Any) -> Any:
        return train(backbone, pooled_task(), LATE, CONFIG, folder=folder)

    backbone = tiny_backbone()
    left = counted(backbone, 10**9)
    whole = run(tmp_path / "whole", backbone)
    calls = 10**9 - left[0]
    head = whole.prompt.head()
    assert head is not None and head.weight.shape == (2, tiny_backbone().head_width(head.layers))
    for share in (0.5, 0.8, 0.97):
        folder, dying = tmp_path / f"{share}", tiny_backbone()
        counted(dying, int(share * calls) + 1)
        with pytest.raises(Killed):
            run(folder, dying)
        again = run(folder, tiny_backbone())
        assert again.prompt.digest == whole.prompt.digest
        assert [e["event"] for e in read_log(folder)].count("pooled") == 1
    events: list[dict[str, Any]] = []
    train(
        tiny_backbone(),
        pooled_task(),
        LATE,
        CONFIG,
        folder=tmp_path / "whole",
        observer=events.append,
    )
    assert [event["event"] for event in events] == ["finished"]


def test_its_prompt_answers_as_the_run_was_tested(tmp_path: Path) -> None:
    backbone, task = tiny_backbone(), pooled_task()
    run = train(backbone, task, LATE, CONFIG, folder=tmp_path)
    loaded = Prompt.load(tmp_path / "prompt", backbone)
    found = predict(
        backbone,
        loaded.spec,
        task.test,
        loaded.injection(),
        slot="infix",
        head=loaded.head(),
        prior=loaded.manifest.prior,
    )
    assert run.test is not None
    right = sum(p.answer == r.target for p, r in zip(found, task.test, strict=True))
    assert right / len(task.test) == pytest.approx(run.test.score)


def test_while_it_learns_the_head_reads_the_state_alone(setup: TrainSetup) -> None:
    head = head_of(setup.start)
    assert head is not None and not head.layers and head.weight.shape == (2, 32)


def test_a_pooled_head_races_beside_words(tmp_path: Path) -> None:
    config, backbone = TrainConfig(budget="108 steps"), tiny_backbone()
    run = auto(backbone, review_task(80), config, folder=tmp_path)
    (race,) = (event for event in read_log(tmp_path) if event["event"] == "race")
    assert ["with a head" in name for name in race["contestants"]] == [True, False]
    best = max(
        (event for event in read_log(tmp_path) if event["event"] == "raced"),
        key=lambda event: (event["accuracy"], -event["loss"]),
    )
    assert "with a head" in best["contestant"]
    head = run.prompt.head()
    assert head is not None and head.layers and run.prompt.spec.head == "pooled"
    (told,) = (event for event in read_log(tmp_path) if event["event"] == "pooled")
    assert run.validation.loss == told["validation_loss"]
    assert run.validation.accuracy == told["validation_accuracy"]
    assert "Pooled head" in str(event_text(told))
    again = auto(tiny_backbone(), review_task(80), config, folder=tmp_path)  # read, not run
    assert again.prompt.digest == run.prompt.digest


def test_words_alone_race_where_no_head_may(tmp_path: Path) -> None:
    run = auto(
        tiny_backbone(),
        review_task(80),
        TrainConfig(budget="40 steps"),
        heads=False,
        folder=tmp_path,
    )
    (race,) = (event for event in read_log(tmp_path) if event["event"] == "race")
    assert not any("with a head" in name for name in [*race["contestants"], *race["left_out"]])
    assert run.prompt.head() is None


@pytest.mark.parametrize(
    ("kind", "method", "got"),
    [
        ("llama", PTuningV2(length=4), "method p-tuning-v2, slot prefix"),
        ("mistral-sliding", PromptTuning(length=4, slot="suffix"), "window"),
        ("roberta", PromptTuning(length=4), "masked"),
    ],
)
def test_a_pooled_head_needs_inputs_without_the_prompt(kind: str, method: Any, got: str) -> None:
    task = pooled_task()
    with pytest.raises(ConfigError, match="as it is without the prompt") as refused:
        TrainSetup.of(tiny_backbone(kind), task, TrainablePrompt(method), TrainConfig())
    assert got in str(refused.value.got)


def test_a_pooled_head_works_with_vectors_after_the_input() -> None:
    method = PromptTuning(length=3, slot="suffix")
    task, config = pooled_task(), TrainConfig(steps=3)
    run = train(tiny_backbone(), task, method, config)
    head = run.prompt.head()
    assert head is not None and head.layers and run.test is not None
