"""Names that look alike."""

from __future__ import annotations

import unicodedata

import pytest

from cuecard.tasks.similar import look_alikes, look_alikes_told, nearest

NFC, NFD = (unicodedata.normalize(form, "größe") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "there", "hint"),
    [
        ("label", "Label", "upper and lower case"),
        (NFC, NFD, "NFC and NFD"),
        (NFD, NFC, "NFC and NFD"),
        ("text", "\ufefftext", r"'\ufefftext': one has invisible"),
        ("te\u200bxt", "text", "invisible"),
        ("text", "text ", "spaces differ"),
        ("my_text", "my text", "underscores"),
        ("Text", " text", "spaces differ and upper and lower case differ"),
        ("text", "tetx", "did you mean 'tetx'?"),
    ],
)
def test_what_was_meant_and_how_it_differs(name: str, there: str, hint: str) -> None:
    assert hint in str(nearest(name, ["id", there]))


def test_the_same_word_is_no_hint() -> None:
    assert nearest("text", ["text"]) is None
    assert nearest("text", ["text", "texts"]) == "did you mean 'texts'?"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ("cafe\u0301", "NFC and NFD"),
        ("caf\u200bé", "invisible"),
        ("Café", "upper and lower case"),
        ("c\u0430fé", "another alphabet"),
        ("caf é", "spaces differ"),
    ],
)
def test_labels_that_look_alike_are_found_and_told_apart(other: str, told: str) -> None:
    pairs = look_alikes(["tea", "café", other, "milk"])
    assert pairs == [("café", other)]
    assert told in look_alikes_told(pairs)


def test_labels_that_are_unlike_or_the_same_are_not_look_alikes() -> None:
    assert look_alikes(["spam", "not spam", "ham", "spam"]) == []
