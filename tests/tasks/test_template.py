from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuecard.errors import TemplateError
from cuecard.tasks.similar import nearest
from cuecard.tasks.template import Template, escape

Attempt = Callable[[Callable[[], Any]], Any]
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)


def test_fields_come_in_the_order_of_first_use() -> None:
    template = Template("{b} and {a}, again {b}")
    assert template.fields == ("b", "a")
    assert (template.count("b"), template.count("a")) == (2, 1)


def test_doubled_braces_are_braces() -> None:
    assert Template("{{{text}}} {{x}}").render({"text": "a"}) == "{a} {x}"


@pytest.mark.parametrize(
    ("text", "place", "got"),
    [
        ("a {text.upper}", "line 1, column 3", "{text.upper}"),
        ("a\nbc {text[0]}", "line 2, column 4", "{text[0]}"),
        ("{text!r}", "column 1", "{text!r}"),
        ("{text:>9}", "column 1", "{text:>9}"),
        ("{}", "column 1", "{}"),
        ("{0}", "column 1", "{0}"),
        ("{ text }", "column 1", "{ text }"),
        ("{text", "column 1", "{text"),
        ("{text} }", "column 8", "}"),
        ("{te{xt}", "column 1", "{te{xt}"),
    ],
)
def test_anything_but_a_plain_name_is_refused(text: str, place: str, got: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text)
    assert place in str(caught.value.where)
    assert caught.value.got == repr(got)


@pytest.mark.parametrize("text", ["", "no gap", "{{text}}"])
def test_a_template_needs_a_field(text: str) -> None:
    with pytest.raises(TemplateError, match="names no field"):
        Template(text)


def test_a_missing_field_names_the_nearest() -> None:
    with pytest.raises(TemplateError) as caught:
        Template("{text}\n").render({"Texts": "a", "label": "b"})
    assert caught.value.hint == "did you mean 'Texts'?"
    assert caught.value.got == "fields Texts, label"


def test_nothing_near_is_no_hint() -> None:
    assert nearest("text", ["label", "id"]) is None


@given(st.text(), st.text(), NAMES, st.text())
def test_words_and_values_come_through_as_they_are(
    before: str, after: str, name: str, value: str
) -> None:
    template = Template(escape(before) + "{" + name + "}" + escape(after))
    assert template.render({name: value}) == before + value + after
    assert template.fields == (name,)


@given(st.text(alphabet="{}a .![]:\n", max_size=12))
def test_any_text_parses_or_says_where_it_does_not(attempt: Attempt, text: str) -> None:
    found = attempt(lambda: Template(text))
    if isinstance(found, TemplateError):
        assert found.where is not None
    else:
        assert found.render(dict.fromkeys(found.fields, "")).count("{") <= text.count("{")


def test_the_prompts_gap_is_no_field() -> None:
    template = Template("{prompt} {text} {{prompt}}")
    assert template.fields == ("text",) and template.has_prompt and not template.prompt_is_late
    assert template.render({"text": "a"}) == " a {prompt}"
    assert template.render({"text": "a"}, prompt="*") == "* a {prompt}"
    assert Template("{text}{prompt}").prompt_is_late
    assert not Template("{text}{prompt}").ends_with_field
    with pytest.raises(TemplateError, match="are not columns"):
        Template("{prompt}")


def test_several_places_for_the_prompt() -> None:
    even = Template("{prompt}Review: {text}{prompt}")
    assert even.deal == (0, 0) and even.fields == ("text",) and not even.prompt_is_late
    dealt = Template("{text}{prompt:12} so {prompt:3}")
    assert dealt.deal == (12, 3) and dealt.prompt_is_late and not dealt.ends_with_field
    assert dealt.render({"text": "a"}, prompt="*") == "a* so *"
    assert Template("{text}").deal == ()
    with pytest.raises(TemplateError, match="at every place"):
        Template("{prompt}{text}{prompt:3}")
    for gap in ("{prompt:0}", "{prompt:-1}", "{prompt:a}", "{prompt:}", "{text:3}"):
        with pytest.raises(TemplateError, match="not a plain name"):
            Template("{text}" + gap)


def test_a_system_message_may_have_the_prompts_place() -> None:
    template = Template("{text}", chat=True, system="Read: {prompt}.")
    assert template.has_prompt and template.places == 1 and template.with_prompt is template
    assert not template.prompt_is_late and template.fields == ("text",)
    assert template.render_system("it") == "Read: it." and template.render_system() == "Read: ."
    assert Template("{text}", chat=True).render_system() is None
    with pytest.raises(TemplateError, match="at every place"):
        Template("{text}{prompt:2}", chat=True, system="{prompt}")
