"""Prompts that were trained to extract: they answer on their own backbone, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.catalogue import Progress
from cuecard.catalogue.entries import BACKBONES
from cuecard.errors import ConfigError
from cuecard.graphrag.answers import Form
from cuecard.graphrag.measuring.measure import blocks
from cuecard.llms.protocol import LLMAnswer, TokenUsage
from cuecard.names import load_backbone
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_method import prompt_folder
from cuecard.runs.run_kinds import RUN
from cuecard.search.budget import Amount
from cuecard.search.calls import CallAnswer, Calls
from cuecard.search.candidate import digest
from cuecard.training.storage.log import Observer
from cuecard.types import Backbone, InputTokens, Record


def load_trained(
    folders: Mapping[str, str], backbone: str | None, progress: Progress | None
) -> dict[str, BoundPrompt]:
    """Trained prompts by name, on their backbones, of which each is loaded once.

    Args:
        folders: name -> a prompt's or a run's folder.
        backbone: instead of the one that each names.

    Raises:
        ConfigError: a prompt that does not write a text about a text.
        CuecardError: one that cannot be loaded.
    """
    loaded: dict[str, Backbone] = {}
    found = {}
    for called, folder in folders.items():
        prompt = Prompt.load(prompt_folder(folder))
        spec = prompt.spec
        if spec.mode != "text" or len(spec.field_names) != 1:
            raise ConfigError(
                "the prompt does not write a text about a text",
                where=folder,
                got=f"kind {spec.kind}, fields {', '.join(spec.field_names)}",
                expected="a prompt of kind text-to-text with one field, trained on rows of "
                "`cuecard graphrag dataset`",
            )
        name = backbone or _backbone_of(prompt, Path(folder))
        if name not in loaded:
            loaded[name] = load_backbone(name, progress=progress)
        found[called] = prompt.bind(loaded[name])
    return found


def _backbone_of(prompt: Prompt, folder: Path) -> str:
    """What to load: a name of the catalogue, or what the run's own recipe says.

    Raises:
        ConfigError: neither of them.
    """
    named = prompt.manifest.backbone.name
    if named in BACKBONES:
        return named
    recipe = folder / RUN.file
    if recipe.is_file():
        return Recipe.read(recipe).backbone
    raise ConfigError(
        "the prompt's backbone is not in the catalogue, and names from a file are not followed",
        where=str(folder),
        got=named,
        expected="--backbone with a name, a folder or a hub id",
    )


async def trained_answers(
    name: str, bound: BoundPrompt, texts: Sequence[str], calls: Calls, tell: Observer
) -> list[LLMAnswer]:
    """A trained prompt's answers to texts; those of a block are one call of the journal.

    Raises:
        BudgetSpent: there is not enough left.
    """
    answers: list[LLMAnswer] = []
    for block in blocks(texts):
        key = digest(["trained", bound.prompt.digest, bound.backbone.fingerprint.weights, *block])
        most = cost_of_trained(bound, block)

        async def run(block: Sequence[str] = block, most: Amount = most) -> CallAnswer:
            return CallAnswer(_answered(bound, block), most)

        rows = await calls.make(key, "backbone", most, run)
        answers += [LLMAnswer(text, TokenUsage(*usage), reason) for text, usage, reason in rows]
        done = {"done": len(answers), "of": len(texts), "run": 1}
        tell({"event": "answers", "prompt": name, **done})
    return answers


def cost_of_trained(bound: BoundPrompt, texts: Sequence[str]) -> Amount:
    """What answers take at most: a call each, and the tokens that are read and may be written."""
    tokens = sum(_read_tokens(bound, text) + bound.spec.max_new_tokens for text in texts)
    return Amount(len(texts), tokens)


def form_of(answers: Sequence[LLMAnswer]) -> Form:
    """How answers are written: in JSON where most begin as JSON does."""
    begun = sum(each.text.lstrip().startswith(("{", "[")) for each in answers)
    return "json" if 2 * begun > len(answers) else "tuples"


def _answered(bound: BoundPrompt, texts: Sequence[str]) -> list[tuple[str, Any, str]]:
    """Answers, the tokens read and written, and why each ended."""
    (field,), tokenizer = bound.spec.field_names, bound.backbone.tokenizer
    rows, most = [], bound.spec.max_new_tokens
    predictions = bound.predict([{field: text} for text in texts])
    for text, answer in zip(texts, (each.answer for each in predictions), strict=True):
        # Counted again, an answer may have more tokens than were written.
        again = len(tokenizer(answer, add_special_tokens=False)["input_ids"])
        written, reason = min(again, most), "length" if again >= most else "stop"
        rows.append((answer, (_read_tokens(bound, text), written), reason))
    return rows


def _read_tokens(bound: BoundPrompt, text: str) -> int:
    """Tokens of the template with a text, and the prompt's vectors among them."""
    (field,) = bound.spec.field_names
    row = bound.spec.encode(Record({field: text}, None), bound.backbone.tokenizer)
    vectors = bound.injection.length if isinstance(bound.injection, InputTokens) else 0
    return len(row.context) + vectors
