"""What the demo shows: recipes that a user's own could be, and prompts written by hand."""

from __future__ import annotations

from cuecard.catalogue import BACKBONES, is_catalogue_name
from cuecard.cli.commands.train.demo_tasks import HEADLINE_PROMPTS, SENTENCES, SOLVED, demo_of
from cuecard.tasks import TaskSpec
from support.tiny import tiny_tokenizer


def test_reviews_are_the_first_demo() -> None:
    demo = demo_of("reviews", None, 3, quick=False)
    assert demo.recipe.out == "runs/demo" and demo.recipe.training.seed == 3
    assert demo.manual == (SOLVED,) and demo.inputs == SENTENCES


def test_the_reviews_prompt_by_hand_is_the_template_itself() -> None:
    """So that it answers the test rows in the trained prompt's own pass."""
    recipe = demo_of("reviews", None, 0, quick=False).recipe
    spec = TaskSpec(**recipe.task.model_dump(exclude_none=True))
    asked = SOLVED.to_spec(spec, tiny_tokenizer())
    assert (asked.template, asked.max_length) == (spec.template, recipe.task.max_length)
    assert spec.template.count("Sentiment:") == 5 and recipe.method["slot"] == "infix"


def test_headlines_are_texts_on_the_encoder_decoder() -> None:
    demo = demo_of("headlines", None, 0, quick=False)
    recipe = demo.recipe
    assert recipe.out == "runs/demo-headlines"
    assert recipe.task.kind == "text-to-text" and recipe.demonstrations == ()
    assert is_catalogue_name(recipe.data.path) and BACKBONES[recipe.backbone].family == "seq2seq"
    assert demo.manual == HEADLINE_PROMPTS
    spec = TaskSpec(kind="text-to-text", template="{text}", max_length=128)
    asked = [manual.to_spec(spec, tiny_tokenizer()) for manual in HEADLINE_PROMPTS]
    assert {one.field_names for one in asked} == {("text",)}


def test_quick_is_shorter_and_goes_where_it_is_told() -> None:
    for task in ("reviews", "headlines"):
        quick, whole = (demo_of(task, "here", 0, quick=q).recipe for q in (True, False))  # type: ignore[arg-type]
        assert quick.training.steps < whole.training.steps
        assert quick.data.split[2] < whole.data.split[2]
        assert quick.out == whole.out == "here"
