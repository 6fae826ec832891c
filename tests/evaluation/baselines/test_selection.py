import numpy as np
import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import (
    ManualPrompt,
    default_manual_prompts,
    with_demonstrations,
)
from cuecard.evaluation.baselines.selection import majority, select_manual
from cuecard.evaluation.calibration import cross_fitted
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.predict import predict
from cuecard.tasks.predictions import as_predictions
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record
from support.tiny import tiny_backbone

SPEC = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("negative", "positive"),
    max_length=64,
)
TEXT = TaskSpec(kind="text-to-text", template="{text}\nOut:", max_new_tokens=4)
REVIEWS = ["one of the best films", "a gob", "warm", "drivel", "so true", "gag", "x", "y"]
ROWS = [Record({"text": text}, SPEC.labels[i % 2], "v.csv", i) for i, text in enumerate(REVIEWS)]
GOLD = [str(record.target) for record in ROWS]


@pytest.fixture(scope="module")
def backbone():
    torch.set_num_threads(1)
    return tiny_backbone()


def test_the_choice_is_the_best_trial_and_evaluates_to_its_score(backbone):
    candidates = default_manual_prompts(SPEC)
    seen = []
    choice = select_manual(
        backbone, SPEC, ROWS, candidates, on_trial=lambda *told: seen.append(told)
    )
    assert [(number, total) for _, number, total in seen] == [(i + 1, 6) for i in range(6)]
    assert [trial.name for trial, _, _ in seen] == [manual.name for manual in candidates]
    assert {trial for trial, _, _ in seen} <= set(choice.table)
    assert len(choice.table) == 4 * len(candidates)
    assert choice.score == max(trial.score for trial in choice.table)
    own = {t.variant: t for t in choice.table if t.name == choice.manual.name}
    assert own[choice.variant].score == choice.score
    assert {trial.rows for trial in own.values()} == {len(ROWS)}
    assert (choice.prior is None) == (choice.variant == "plain")
    assert choice.variant != "fitted prior"
    again = evaluate(backbone, choice.spec, ROWS, prior=choice.prior, stop=choice.stop)
    assert again.score == choice.score
    assert again.tokens_per_request == own["plain"].tokens
    raw = evaluate(backbone, choice.spec, ROWS).predictions
    read = cross_fitted(raw, GOLD)
    right = [p.answer == g for p, g in zip(read, GOLD, strict=True)]
    assert own["fitted prior"].score == np.mean(right)
    assert not choice.skipped


def test_a_fitted_prior_is_chosen_where_it_helps(backbone, monkeypatch):
    """Scores that rank well and lean, of uneven labels: no calibration without labels knows."""
    rng = np.random.default_rng(0)
    rows = [Record({"text": str(i)}, SPEC.labels[i % 5 == 0], "v.csv", i) for i in range(100)]
    right = {r.fields["text"]: 3.0 if r.target == "positive" else -3.0 for r in rows}

    def leaning(backbone, spec, records, **options):
        margins = [right.get(r.fields["text"], -9.0) + 4 + rng.normal() for r in records]
        return as_predictions(np.asarray([[0.0, margin] for margin in margins]), SPEC.labels)

    monkeypatch.setattr("cuecard.evaluation.baselines.selection.predict", leaning)
    choice = select_manual(backbone, SPEC, rows, [ManualPrompt("plain", SPEC.template)])
    scores = {trial.variant: trial.score for trial in choice.table}
    assert choice.variant == "fitted prior" and choice.score > 0.95
    assert scores["plain"] < 0.4
    assert choice.as_written is not None and choice.as_written.variant == "plain"


def test_the_worse_half_is_dropped_after_every_round(backbone, monkeypatch):
    seen = []
    candidates = default_manual_prompts(SPEC)
    options = {"rounds": (2, 4), "on_trial": lambda *told: seen.append(told)}
    choice = select_manual(backbone, SPEC, ROWS, candidates, **options)
    assert [(t.rows, number, total) for t, number, total in seen] == [
        *((2, i + 1, 6) for i in range(6)),
        *((4, i + 1, 3) for i in range(3)),
        *((8, i + 1, 2) for i in range(2)),
    ]
    rows = {trial.name: trial.rows for trial in choice.table}
    assert sorted(rows.values()) == [2, 2, 2, 4, 8, 8]
    assert rows[choice.manual.name] == 8
    shuffled = select_manual(backbone, SPEC, ROWS[::-1], candidates, rounds=(2, 4))
    assert (shuffled.manual, shuffled.variant) == (choice.manual, choice.variant)
    # No row is answered twice, and inputs without content once.
    asked = []

    def counting(backbone, spec, records, **options):
        asked.append(len(records))
        return predict(backbone, spec, records, **options)

    monkeypatch.setattr("cuecard.evaluation.baselines.selection.predict", counting)
    select_manual(backbone, SPEC, ROWS, candidates[:1], rounds=(2, 4))
    assert asked == [2 + 3, 2, 4]


def test_a_race_ends_with_its_tokens(backbone):
    candidates = with_demonstrations(
        ManualPrompt("m", SPEC.template), ROWS, (1, 2, 3, 4), SPEC, 0, draws=3
    )
    counts = backbone.counts
    before = counts["tokens"]
    free = select_manual(backbone, SPEC, ROWS, candidates, rounds=(2, 4))
    whole = counts["tokens"] - before
    before = counts["tokens"]
    tight = select_manual(backbone, SPEC, ROWS, candidates, rounds=(2, 4), tokens=whole // 2)
    assert counts["tokens"] - before < 0.6 * whole
    assert not free.skipped and 0 < len(tight.skipped) < len(candidates)
    assert all("not tried" in why for why in tight.skipped.values())
    none = select_manual(backbone, SPEC, ROWS, candidates, rounds=(2, 4), tokens=0)
    assert len(none.skipped) == len(candidates) - 2  # so that there is a choice


def test_a_prompt_may_not_cut_records(backbone):
    """Where it leaves room for some of a record and not for all, it would be no fair trial."""
    rows = [*ROWS, Record({"text": "so true " * 60}, "positive")]
    spec = SPEC.model_copy(update={"max_length": 250})
    long = ManualPrompt("long", SPEC.template, instruction="warm " * 60)
    plain = ManualPrompt("plain", SPEC.template)
    choice = select_manual(backbone, spec, rows, [long, plain])
    assert choice.skipped == {"long": "the hand-written prompt leaves no room for whole records"}
    assert set(select_manual(backbone, spec, ROWS, [long, plain]).skipped) == set()


def test_every_trial_can_be_repeated_alone(backbone):
    for manual in with_demonstrations(ManualPrompt("m", SPEC.template), ROWS, (2, 4), SPEC, 0):
        choice = select_manual(backbone, SPEC, ROWS, [manual])
        plain = choice.table[0]
        assert plain.variant == "plain"
        asked = manual.to_spec(SPEC, backbone.tokenizer)
        assert plain.score == evaluate(backbone, asked, ROWS).score
        assert plain.demonstrations == len(manual.demonstrations)


def test_candidates_that_cannot_be_used_are_named(backbone):
    long = ManualPrompt("long", SPEC.template, instruction="so " * 400)
    mute = CausalBackbone(backbone.model, WithoutChat(backbone.tokenizer), "mute")
    chat = ManualPrompt("chat", SPEC.template, chat=True)
    plain = ManualPrompt("plain", SPEC.template)
    choice = select_manual(mute, SPEC, ROWS, [long, chat, plain])
    assert choice.manual == plain
    assert "no room" in choice.skipped["long"]
    assert "chat template" in choice.skipped["chat"]
    with pytest.raises(ConfigError, match="no hand-written prompt"):
        select_manual(mute, SPEC, ROWS, [long, chat])
    with pytest.raises(ConfigError, match="no hand-written prompt"):
        select_manual(mute, SPEC, ROWS, [])


class WithoutChat:
    def __init__(self, tokenizer):
        self._inner = tokenizer
        self.chat_template = None

    def __call__(self, *args, **options):
        return self._inner(*args, **options)

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_texts_are_chosen_by_rouge_l_with_the_best_way_to_cut(backbone):
    rows = [Record({"text": r.fields["text"]}, "gag gag") for r in ROWS[:4]]
    choice = select_manual(backbone, TEXT, rows, default_manual_prompts(TEXT))
    assert {trial.variant for trial in choice.table} == {"plain", "first line", "first paragraph"}
    again = evaluate(backbone, choice.spec, rows, stop=choice.stop)
    assert again.metrics["rouge_l"] == pytest.approx(choice.score)


def test_majority_by_hand():
    train = [Record({"text": "x"}, label) for label in ("positive", "positive", "negative")]
    found = majority(SPEC, train, ROWS)
    assert {p.answer for p in found.predictions} == {"positive"}
    assert found.score == 0.5
    assert found.metrics["macro_f1"] == pytest.approx(1 / 3)
    assert found.metrics["ece"] == pytest.approx(2 / 3 - 0.5)
    assert found.tokens_per_request == 0


def test_majority_of_equals_is_the_first_label():
    train = [Record({"text": "x"}, label) for label in ("positive", "negative")]
    assert majority(SPEC, train, ROWS).predictions[0].answer == "negative"


def test_majority_of_texts():
    train = [Record({"text": "x"}, t) for t in ("b", "a", "a")]
    rows = [Record({"text": "x"}, t) for t in ("a", "b")]
    found = majority(TEXT, train, rows)
    assert found.predictions[0].answer == "a"
    assert found.score == 0.5


def test_majority_needs_targets():
    with pytest.raises(ConfigError, match="no most common answer"):
        majority(SPEC, [Record({"text": "x"}, None)], ROWS)
