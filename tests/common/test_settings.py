"""Settings a user wrote, and what they are told of mistakes, without a validator's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.errors import ConfigError
from cuecard.runs.multitask_recipe import MultitaskRecipe
from cuecard.runs.recipe import Recipe
from cuecard.settings import parse_settings
from cuecard.yaml_files import DuplicateKeyError, load_yaml

DATA = "data: {path: rows.csv}\n"


def told(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Recipe.parse(load_yaml(text), "r.yaml")
    assert "Input should" not in str(caught.value) and "True" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("text", "where", "expected", "hint"),
    [
        ("data: rows.csv", "data", "a mapping", "write data: {path: rows.csv}"),
        ("data:", "data", "a mapping", "write data: {path: ...}"),
        (DATA + "task: {labels: [on, off]}", "task.labels.0", "a text", "put them in quotes"),
        (DATA + "task: {labels: [1, 2]}", "task.labels.0", "a text", "put it in quotes: '1'"),
        (DATA + "task: {labels: a}", "task.labels", "a list", "write a list: [a]"),
        (DATA + "task: {words: {bug: yes}}", "task.words.bug", "a text", "put them in quotes"),
        (DATA + "method: dept", "method", "a mapping", "write method: {name: dept}"),
        (DATA + "task: {labels: no}", "task.labels", "a list", "quote them: ['yes', 'no']"),
        (DATA + "demonstrations: 4", "demonstrations", "a list", "write a list: [4]"),
        (DATA + "training: {lr: slow}", "training.lr", "a number or 'auto'", ""),
        (DATA + "training: {steps: 0}", "training.steps", "1 or more", ""),
        (DATA + "training: {steps: 2.5}", "training.steps", "a whole number", ""),
        (DATA + "compare: perhaps", "compare", "true or false", ""),
        (DATA + "task: {kind: sorting}", "task.kind", "one of 'classification'", ""),
    ],
)
def test_a_value_that_does_not_fit(text: str, where: str, expected: str, hint: str) -> None:
    error = told(text)
    assert error.where == f"r.yaml, {where}"
    assert str(error.expected).startswith(expected)
    assert hint in str(error.hint or "")


def test_what_is_missing_and_what_is_unknown() -> None:
    error = told("data: {limit: 3}")
    assert (error.what, error.where) == ("a required setting is missing", "r.yaml, data.path")
    assert told(DATA + "training: {stepz: 3}").hint == "did you mean steps?"
    assert told("data: {path: a, split: [0.8, 0.2]}").what == "too few values"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("tasks: {one: rows.csv}", "tasks.one"),
        ("tasks: {one: {data: rows.csv}}", "tasks.one.data"),
        ("tasks: {one: {dta: {path: x}}}", "tasks.one.dta"),
        ("tasks: [one]", "tasks"),
    ],
)
def test_keys_of_the_users_own_are_part_of_the_place(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(MultitaskRecipe, load_yaml(text), "m.yaml")
    assert caught.value.where == f"m.yaml, {where}"


def test_a_key_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("data: {path: a.csv}\ntraining:\n  steps: 1\n  seed: 2\n  steps: 3\n")
    with pytest.raises(ConfigError, match="a key is given twice") as caught:
        Recipe.read(path)
    assert caught.value.where == f"{path}, line 5" and "line 3" in str(caught.value.hint)
    with pytest.raises(DuplicateKeyError):
        load_yaml("{a: 1, a: 2}")
    merged = "base: &b {a: 1}\nother: {<<: *b, a: 2}"
    assert load_yaml(merged)["other"] == {"a": 2}
