import itertools

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import (
    ManualPrompt,
    default_manual_prompts,
    with_demonstrations,
)
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Record
from support.tiny import tiny_tokenizer

SPEC = TaskSpec(
    kind="classification",
    template="Review: {text}\nSentiment:",
    labels=("0", "1"),
    words={"0": "negative", "1": "positive"},
    max_length=64,
)
TEXT = TaskSpec(kind="text-to-text", template="{text}\nOut:", max_new_tokens=4)
TRAIN = [Record({"text": f"film {i} " + "so " * i}, str(i % 2)) for i in range(20)]


@pytest.fixture(scope="module")
def tokenizer():
    torch.set_num_threads(1)
    return tiny_tokenizer()


def rendered(manual, text, tokenizer, spec=SPEC):
    return manual.to_spec(spec, tokenizer).render(Record({"text": text}, None), tokenizer)


@pytest.mark.parametrize("spec", [SPEC, TEXT], ids=["classification", "text-to-text"])
def test_defaults_are_different_prompts_with_and_without_chat(spec, tokenizer):
    prompts = default_manual_prompts(spec)
    assert len({p.name for p in prompts}) == len(prompts)
    assert len([p for p in prompts if not p.chat]) >= 3
    assert any(p.chat for p in prompts)
    assert not any(p.chat for p in default_manual_prompts(spec, chat=False))
    shown = {rendered(p, "{odd} text", tokenizer, spec) for p in prompts}
    # Prompts that differ in the answer's words alone look the same before it.
    assert len(shown) >= len(prompts) - 1
    assert all("{odd} text" in text for text in shown)
    assert rendered(prompts[0], "x", tokenizer, spec) == spec.template.format(text="x")


def test_defaults_name_the_words_not_the_labels(tokenizer):
    shown = rendered(default_manual_prompts(SPEC)[1], "x", tokenizer)
    assert "negative or positive" in shown


def test_many_fields_and_many_labels(tokenizer):
    labels = tuple(f"topic {{{i}}}" for i in range(60))
    spec = TaskSpec(
        kind="classification",
        template="{head_line} {body}",
        labels=labels,
        max_length=2000,
    )
    record = Record({"head_line": "H", "body": "B"}, None)
    texts = [
        p.to_spec(spec, tokenizer).render(record, tokenizer) for p in default_manual_prompts(spec)
    ]
    assert any("Head line: H\nBody: B" in text for text in texts)
    assert any("topic {0}, topic {1}" in text for text in texts)
    assert not any("topic {59}" in text for text in texts)


def test_capitals_only_where_they_differ():
    same = SPEC.model_copy(update={"words": {"0": "bad", "1": "Bad"}})
    assert "chat, capitals" in [p.name for p in default_manual_prompts(SPEC)]
    assert "chat, capitals" not in [p.name for p in default_manual_prompts(same)]


def test_demonstrations_are_rendered_like_the_record(tokenizer):
    manual = ManualPrompt("m", SPEC.template, instruction="Judge {it}.\n\n")
    shots = (
        Record({"text": "bad {brace}"}, "0"),
        Record({"text": "fine</s>"}, "1"),
    )
    shown = rendered(
        ManualPrompt(manual.name, manual.template, manual.instruction, demonstrations=shots),
        "now",
        tokenizer,
    )
    assert shown == (
        "Judge {it}.\n\nReview: bad {brace}\nSentiment: negative\n\n"
        "Review: fine< /s>\nSentiment: positive\n\nReview: now\nSentiment:"
    )


def test_demonstrations_in_chat_stand_in_the_users_message(tokenizer):
    manual = ManualPrompt(
        "m",
        SPEC.template,
        chat=True,
        words={"0": "Negative", "1": "Positive"},
        demonstrations=(Record({"text": "bad"}, "0"),),
    )
    assert rendered(manual, "now", tokenizer) == (
        "<|user|>Review: bad\nSentiment: Negative\n\nReview: now\nSentiment:<|end|><|assistant|>"
    )


def test_a_longer_prompt_cuts_no_record_that_the_task_would_not_cut(tokenizer):
    record = Record({"text": "so " * 200}, None)
    own = SPEC.encode(record, tokenizer)
    assert own.cut > 0
    manual = with_demonstrations(ManualPrompt("m", SPEC.template), TRAIN, [8], SPEC, 0)[0]
    encoded = manual.to_spec(SPEC, tokenizer).encode(record, tokenizer)
    assert encoded.cut == own.cut
    assert len(encoded.context) > SPEC.max_length


def test_a_prompt_without_room_is_refused(tokenizer):
    manual = with_demonstrations(ManualPrompt("m", SPEC.template), TRAIN, [8], SPEC, 0)[0]
    with pytest.raises(ConfigError, match="no room"):
        manual.to_spec(SPEC, tokenizer, max_positions=100)
    assert manual.to_spec(SPEC, tokenizer, max_positions=400).max_length <= 399


def test_demonstrations_are_drawn_short_balanced_and_by_seed():
    manual = ManualPrompt("m", SPEC.template)
    three, eight = with_demonstrations(manual, TRAIN, (3, 8), SPEC, seed=0)
    assert [len(p.demonstrations) for p in (three, eight)] == [3, 8]
    assert three.name == "m, 3 demonstrations"
    targets = [r.target for r in eight.demonstrations]
    assert targets.count("0") == targets.count("1") == 4
    assert all(a != b for a, b in itertools.pairwise(targets))
    assert len({r.fields["text"] for r in eight.demonstrations}) == 8
    assert max(len(r.fields["text"]) for r in eight.demonstrations) <= len(TRAIN[9].fields["text"])
    assert with_demonstrations(manual, TRAIN, (3, 8), SPEC, seed=0) == [three, eight]
    assert with_demonstrations(manual, TRAIN, (3,), SPEC, seed=1) != [three]
    draws = with_demonstrations(manual, TRAIN, (4,), SPEC, 0, draws=3)
    assert len({p.demonstrations for p in map(_hashable, draws)}) == 3
    assert len({p.name for p in draws}) == 3


def _hashable(prompt):
    texts = tuple(r.fields["text"] for r in prompt.demonstrations)
    return ManualPrompt(prompt.name, prompt.template, demonstrations=texts)


def test_demonstrations_of_texts(tokenizer):
    train = [Record({"text": f"in {i}"}, f"out {i}") for i in range(8)]
    manual = with_demonstrations(ManualPrompt("m", TEXT.template), train, [3], TEXT, 0)[0]
    shown = rendered(manual, "now", tokenizer, TEXT)
    assert shown.count("\nOut: out ") == 3
    assert shown.endswith("\n\nnow\nOut:")


@pytest.mark.parametrize("k", [0, 11])
def test_an_impossible_number_of_demonstrations_is_refused(k):
    with pytest.raises(ConfigError, match="not enough training records to show"):
        with_demonstrations(ManualPrompt("m", SPEC.template), TRAIN, [k], SPEC, 0)
