from __future__ import annotations

import random

import pytest

from cuecard.engine.text_stream import TextStream
from cuecard.evaluation.predict import cut_answer
from support.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def ids(text: str) -> list[int]:
    return [int(token) for token in TOKENIZER(text, add_special_tokens=False)["input_ids"]]


def stream_of(text: str, **options: object) -> tuple[list[str], TextStream]:
    stream = TextStream(TOKENIZER, **options)  # type: ignore[arg-type]
    found = []
    for token in ids(text):
        found.append(stream.add(token))
        if stream.stopped:
            return found, stream
    found.append(stream.end())
    return found, stream


@pytest.mark.parametrize("text", ["a good film", "größer — 日本語 🎬🎬", " \n x \n", ""])
def test_the_pieces_are_the_text(text: str) -> None:
    pieces, stream = stream_of(text)
    assert "".join(pieces) == text
    assert not stream.stopped
    assert all("\ufffd" not in piece for piece in pieces)


def test_any_tokens_give_what_decoding_all_gives() -> None:
    dice = random.Random(0)
    for _ in range(200):
        tokens = [dice.randrange(384) for _ in range(dice.randrange(40))]
        stream = TextStream(TOKENIZER)
        text = "".join([*map(stream.add, tokens), stream.end()])
        assert text == TOKENIZER.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["three", "two"], "one "),
        ("abcabd", ["abd"], "abc"),
        ("aaab", ["aab"], "a"),
        ("stop", ["stop"], ""),
        ("nothing of it", ["xyz"], "nothing of it"),
        ("it ends with a par", ["parts"], "it ends with a par"),
        ("日本語です", ["語"], "日本"),
    ],
)
def test_stops(text: str, stops: list[str], expected: str) -> None:
    pieces, stream = stream_of(text, stops=stops)
    assert "".join(pieces) == expected
    assert stream.stopped is any(stop in text for stop in stops)
    assert not stream.stopped or stream.add(ids("more")[0]) == ""


@pytest.mark.parametrize("text", ["  good \n", "good", "\n\ngood film\n bad", " ", "a  b \t c  "])
@pytest.mark.parametrize("stop", [None, "\n", "film", "b"])
def test_stripped_as_predictions_are(text: str, stop: str | None) -> None:
    pieces, _ = stream_of(text, stops=[stop] if stop else [], strip=True)
    assert "".join(pieces) == cut_answer(text, stop)


def test_text_is_not_held_back_without_need() -> None:
    pieces, _ = stream_of("one two three", stops=["zzz"])
    assert all(pieces[:-1])
