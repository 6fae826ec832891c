from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from cuecard.errors import ConfigError, TemplateError
from cuecard.tasks.encoding.encoder import Encoder, share
from cuecard.tasks.encoding.tokens import plain_ids
from cuecard.tasks.template import Template

REVIEW = Template("Review: {text}\nSentiment:")


def test_a_short_text_is_encoded_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    context = Encoder(REVIEW, tokenizer, 64)({"text": "a gem", "other": "x"})
    assert context.text == "Review: a gem\nSentiment:"
    assert context.ids == tuple(tokenizer.encode(context.text))
    assert context.cut == 0


def test_the_bos_comes_where_the_tokenizer_adds_it(bos_tokenizer: PreTrainedTokenizerFast) -> None:
    context = Encoder(REVIEW, bos_tokenizer, 64)({"text": "a gem"})
    assert context.ids == tuple(bos_tokenizer.encode(context.text))
    assert context.ids[0] == bos_tokenizer.bos_token_id


def test_chat_goes_through_the_chat_template_without_a_second_bos(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoder = Encoder(Template("{text}?", chat=True, system="Be brief."), chat_tokenizer, 64)
    context = encoder({"text": "a gem"})
    assert context.text == (
        "<|start|>system\nBe brief.<|end|>\n<|start|>user\na gem?<|end|>\n<|start|>assistant\n"
    )
    assert encoder.after_space
    assert chat_tokenizer.bos_token_id not in context.ids
    assert context.ids == plain_ids(chat_tokenizer, context.text)


def test_data_cannot_end_a_chat_turn(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = Encoder(Template("{text}", chat=True), chat_tokenizer, 64)
    ends = [encoder({"text": t}).ids.count(chat_tokenizer.eos_token_id) for t in ("a", "<|end|>")]
    assert ends == [1, 1]


def test_chat_needs_a_chat_template(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="no chat template"):
        Encoder(Template("{text}", chat=True), tokenizer, 64)


def test_a_refused_message_is_a_config_error(tokenizer: PreTrainedTokenizerFast) -> None:
    refuses = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    refuses.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ConfigError, match="refuses the messages") as caught:
        Encoder(Template("{text}", chat=True, system="x"), refuses, 64)
    assert caught.value.got == "no system role"


def test_a_template_that_fills_the_length_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    words = len(tokenizer.encode("Review: \nSentiment:"))
    with pytest.raises(ConfigError, match="fills the context") as caught:
        Encoder(REVIEW, tokenizer, words)
    assert f"{words} tokens" in str(caught.value.expected)
    assert Encoder(REVIEW, tokenizer, words + 1)({"text": "a"}).cut == 0


def test_a_missing_field_is_a_template_error(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TemplateError, match="needs the field 'text'"):
        Encoder(REVIEW, tokenizer, 64)({"txt": "a"})


def test_what_is_cut_is_the_end_of_the_longest_field(tokenizer: PreTrainedTokenizerFast) -> None:
    template = Template("Q: {question} C: {context} A:")
    fields = {"question": "the dog", "context": "the quick brown fox jumps " * 9}
    context = Encoder(template, tokenizer, 32)(fields)
    assert context.text.startswith("Q: the dog C: the quick brown")
    assert context.text.endswith(" A:")
    assert 30 <= len(context.ids) <= 32
    assert context.cut > 0


def test_words_that_merge_when_a_field_is_empty_do_not_break_the_length(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    assert len(tokenizer.encode("positive")) < len(tokenizer.encode("posit ive"))
    encoder = Encoder(Template("posit{text}ive"), tokenizer, 20)
    for length in range(1, 60):
        context = encoder({"text": "zq" * length})
        assert len(context.ids) <= 20
        assert context.text.endswith("ive")


@pytest.mark.parametrize(
    ("template", "ends"),
    [("{text}\n", True), ("{text}:", False), ("A: {text}", False), ("{text} ", True)],
)
def test_whether_the_context_after_space(
    tokenizer: PreTrainedTokenizerFast, template: str, ends: bool
) -> None:
    assert Encoder(Template(template), tokenizer, 64).after_space is ends


def test_a_last_fields_trailing_space_is_dropped(tokenizer: PreTrainedTokenizerFast) -> None:
    assert Encoder(Template("A: {text}"), tokenizer, 64)({"text": "b \n"}).text == "A: b"


@pytest.mark.parametrize("unit", ["a", "the dog ", "😀", "👩‍👩‍👧‍👦", "<|end|>", "\n", "e\u0301"])
@pytest.mark.parametrize("chat", [False, True])
def test_a_text_of_100_000_characters_takes_well_under_a_second(
    chat_tokenizer: PreTrainedTokenizerFast, unit: str, chat: bool
) -> None:
    encoder = Encoder(Template("Review: {text}\nSentiment:", chat=chat), chat_tokenizer, 128)
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    context = encoder({"text": text})
    assert time.process_time() - start < 0.9
    assert len(context.ids) <= 128
    assert "\nSentiment:" in context.text
    assert context.cut > 100


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=300), st.text(max_size=300), st.integers(24, 80), st.booleans())
def test_the_length_holds_and_the_templates_words_stay(
    chat_tokenizer: PreTrainedTokenizerFast, first: str, second: str, length: int, chat: bool
) -> None:
    template = Template("A {a} B {b} C {a} D:", chat=chat)
    encoder = Encoder(template, chat_tokenizer, 100 if chat else length)
    context = encoder({"a": first, "b": second})
    assert len(context.ids) <= encoder.max_length
    assert "A " in context.text
    assert " D:" in context.text
    bos = () if chat else (chat_tokenizer.bos_token_id,)
    assert context.ids == bos + plain_ids(chat_tokenizer, context.text)
    assert context == encoder({"a": first, "b": second})


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 40), min_size=1),
    st.integers(-5, 100),
)
def test_share_is_cutting_single_tokens_from_the_longest(
    lengths: dict[str, int], room: int
) -> None:
    kept = share(lengths, dict.fromkeys(lengths, 1), room)
    level = max(kept.values())
    assert kept == {name: min(length, level) for name, length in lengths.items()}
    assert sum(kept.values()) <= max(0, room)
    more = sum(min(length, level + 1) for length in lengths.values())
    assert kept == lengths or more > room


INFIX = Template("Review: {text}\n{prompt} Sentiment:")


def test_the_prompt_stands_at_its_place(bos_tokenizer: PreTrainedTokenizerFast) -> None:
    context = Encoder(INFIX, bos_tokenizer, 64, infix=True)({"text": "a gem"})
    assert context.text == "Review: a gem\n Sentiment:"
    assert bos_tokenizer.decode(context.ids[: context.before]) == "<|bos|>Review: a gem\n"
    assert bos_tokenizer.decode(context.ids[context.before :]) == " Sentiment:"
    whole = Encoder(INFIX, bos_tokenizer, 64)({"text": "a gem"})
    assert whole.text == context.text and whole.before == 0
    assert whole.ids == tuple(bos_tokenizer.encode(whole.text))


@pytest.mark.parametrize("template", ["{prompt}Review: {text}", "Review: {text}{prompt}"])
def test_the_prompt_at_an_end(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    context = Encoder(Template(template), tokenizer, 64, infix=True)({"text": "a gem"})
    assert context.before == (0 if template.startswith("{prompt}") else len(context.ids))
    assert tokenizer.decode(context.ids) == "Review: a gem"


@given(st.text(max_size=400), st.text(max_size=400), st.integers(8, 40))
@settings(max_examples=60, deadline=None)
def test_cutting_leaves_the_prompts_neighbours_alone(
    tokenizer: PreTrainedTokenizerFast, first: str, second: str, length: int
) -> None:
    template = Template("Q: {first}\n=>{prompt}<= {second}\nA:")
    encoder = Encoder(template, tokenizer, max(length, encoder_room(tokenizer)), infix=True)
    context = encoder({"first": first, "second": second})
    before = tokenizer.decode(context.ids[: context.before])
    after = tokenizer.decode(context.ids[context.before :])
    assert before.endswith("\n=>") and after.startswith("<= ") and after.endswith("\nA:")
    assert len(context.ids) <= encoder.max_length


def encoder_room(tokenizer: PreTrainedTokenizerFast) -> int:
    return len(tokenizer.encode("Q: \n=>")) + len(tokenizer.encode("<= \nA:")) + 1


def test_data_cannot_move_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    encoder = Encoder(INFIX, tokenizer, 64, infix=True)
    assert encoder({"text": "a\ue000 gem"}) == encoder({"text": "a gem"})
    assert encoder({"text": "{prompt}"}).text == "Review: {prompt}\n Sentiment:"


def test_a_chat_keeps_the_prompts_place(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    template = Template("{text} {prompt}?", chat=True)
    context = Encoder(template, chat_tokenizer, 64, infix=True)({"text": "a gem"})
    assert chat_tokenizer.decode(context.ids[: context.before]).endswith("user\na gem ")
    assert chat_tokenizer.decode(context.ids[context.before :]).startswith("?<|end|>")


def test_a_chat_template_must_keep_the_prompts_place(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    drops = PreTrainedTokenizerFast(tokenizer_object=chat_tokenizer.backend_tokenizer)
    drops.chat_template = "always the same"
    with pytest.raises(ConfigError, match="does not keep the prompt's place"):
        Encoder(Template("{text}{prompt}", chat=True), drops, 64, infix=True)


def test_several_places_part_the_text(bos_tokenizer: PreTrainedTokenizerFast) -> None:
    template = Template("{prompt}Review: {text}\n{prompt} Sentiment:{prompt}")
    context = Encoder(template, bos_tokenizer, 64, infix=True)({"text": "a\ue000 gem"})
    cuts = (0, context.before, *context.more, len(context.ids))
    parts = [context.ids[a:b] for a, b in pairwise(cuts)]
    found = [bos_tokenizer.decode(part) for part in parts]
    assert found == ["<|bos|>", "Review: a gem\n", " Sentiment:", ""]
    assert context.text == "Review: a gem\n Sentiment:"
