import pytest
import torch

from cuecard.backbones import CausalBackbone
from cuecard.errors import ConfigError
from cuecard.evaluation.baselines import majority, select_manual
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.manual import ManualPrompt, default_manual_prompts, with_demonstrations
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record
from tiny import tiny_backbone

SPEC = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("negative", "positive"),
    max_length=64,
)
TEXT = TaskSpec(kind="text-to-text", template="{text}\nOut:", max_new_tokens=4)
REVIEWS = ["one of the best films", "a gob", "warm", "drivel", "so true", "gag", "x", "y"]
ROWS = [Record({"text": text}, SPEC.labels[i % 2], "v.csv", i) for i, text in enumerate(REVIEWS)]


@pytest.fixture(scope="module")
def backbone():
    torch.set_num_threads(1)
    return tiny_backbone()


def test_the_choice_is_the_best_trial_and_evaluates_to_its_score(backbone):
    candidates = default_manual_prompts(SPEC)
    seen = []
    choice = select_manual(backbone, SPEC, ROWS, candidates, on_trial=seen.append)
    assert tuple(seen) == choice.table
    assert len(choice.table) == 3 * len(candidates)
    assert choice.score == max(trial.score for trial in choice.table)
    first = next(trial for trial in choice.table if trial.score == choice.score)
    assert (choice.manual.name, choice.variant) == (first.name, first.variant)
    assert (choice.prior is None) == (choice.variant == "plain")
    again = evaluate(backbone, choice.spec, ROWS, prior=choice.prior, stop=choice.stop)
    assert again.score == choice.score
    assert again.tokens_per_request == first.tokens
    assert not choice.skipped


def test_every_trial_can_be_repeated_alone(backbone):
    for manual in with_demonstrations(ManualPrompt("m", SPEC.template), ROWS, (2, 4), SPEC, 0):
        choice = select_manual(backbone, SPEC, ROWS, [manual])
        plain = choice.table[0]
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
