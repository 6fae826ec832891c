"""A recipe as a command line."""

from __future__ import annotations

import shlex

import pytest

from cuecard.cli.recipe_flags import TRAIN
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_command import command_of
from support.train_flags import recipe_of

RECIPES = (
    {},
    {"task": {"template": "Review: {text}\nIt is", "words": {"negative": "bad"}, "chat": True}},
    {"task": {"template": r"a\nb {text}", "labels": ["no, never", "yes"]}},
    {"data": {"path": "it's.csv", "allow_empty": ["a", "b"], "split": [0.7, 0.2, 0.1]}},
    {"task": {"kind": "tagging"}, "backbone": "flan-t5-small"},
    {"method": {"name": "p-tuning-v2", "length": 8}, "training": {"steps": 40, "lr": 0.01}},
    {"training": {"calibrate": False, "batch_tokens": 64}, "compare": False, "out": "-x"},
)


@pytest.mark.parametrize("given", RECIPES)
def test_the_command_says_the_same(given: dict[str, object]) -> None:
    usual = {"data": {"path": "reviews.csv"}, "method": {"name": "prompt-tuning"}}
    recipe = Recipe.parse({**usual, **given})
    command = command_of(recipe.model_dump(mode="json"), TRAIN.names, "cuecard train")
    words = shlex.split(command)
    assert words[:2] == ["cuecard", "train"]
    assert recipe_of(words[2:]) == recipe
