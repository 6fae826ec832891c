"""Tunes GraphRAG's prompts: reads texts, asks an LLM, writes the prompts."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.catalogue import Progress
from cuecard.errors import ConfigError, DataWarning, Interrupted, LLMError
from cuecard.evaluation.baselines.text_vectors import text_vectors
from cuecard.evaluation.report import write_json
from cuecard.folder_lock import held
from cuecard.graphrag.chunks import TokenCounter, chunks_of, count, find_tokens
from cuecard.graphrag.corpus import Corpus, read_corpus
from cuecard.graphrag.gold import TextSet, read_gold
from cuecard.graphrag.project.project import GraphProject, write_all
from cuecard.graphrag.prompts.dialects import DIALECTS, PromptLimits, WrittenPrompts
from cuecard.graphrag.selection import ChunkSample, select
from cuecard.graphrag.tuning.tuner import TunedSources, Tuner
from cuecard.names import load_backbone
from cuecard.runs.graphrag.outcome import TuneCosts, TuneOutcome
from cuecard.runs.graphrag.recipe import BUDGET, TuneRecipe
from cuecard.runs.llms import ChosenLLM, Engines, connect
from cuecard.search.budget import BudgetSpent
from cuecard.search.calls import Calls
from cuecard.search.candidate import digest
from cuecard.search.journal import Journal
from cuecard.training.storage.log import Observer

if TYPE_CHECKING:
    import numpy as np

REPORT = "tune.json"


def run_tune(
    plan: TuneRecipe, *, observer: Observer | None = None, progress: Progress | None = None
) -> TuneOutcome:
    """Tune a project's prompts; its folder `tuning` gets a journal and `tune.json`.

    The same command goes on with a tuning that was stopped, and pays for no call twice; so does one
    with other settings, as far as it asks the same.

    Args:
        observer: called with every event.

    Raises:
        CuecardError: see `read_corpus`, `connect` and `Tuner.run`.
        Interrupted: Ctrl-C; what was answered is kept.
    """
    made = _set_up(plan, progress)
    with held(plan.folder):
        journal = plan.folder / f"journal-{digest(made.llm.identity)[:12]}.jsonl"
        calls = Calls(Journal(journal, "graphrag tune"), plan.limits)
        tuned = _asked(plan, made, calls, observer or (lambda event: None))
        written = _written(plan, made, tuned)
        settings = _settings(plan, tuned, written)
        files = {plan.prompts / name: text.encode() for name, text in written.files.items()}
        changed = [made.project.applied(settings)] if plan.apply else []
        backups = write_all({**files, **dict(changed)})
        outcome = TuneOutcome(
            plan,
            made.corpus,
            made.sample,
            made.tokens.name,
            tuned,
            tuple(files),
            written.examples,
            settings,
            backups,
            calls.ledger.spent,
        )
        write_json(outcome.to_dict(), plan.folder / REPORT)
    return outcome


def plan_tune(plan: TuneRecipe, *, progress: Progress | None = None) -> TuneCosts:
    """What a tuning would take; nothing is asked, and nothing written.

    Raises:
        CuecardError: what the tuning itself would refuse before its first call.
    """
    made = _set_up(plan, progress)

    async def costs() -> TuneCosts:
        async with Engines() as engines:
            asker = await engines.asker(made.llm, Calls(Journal(None, ""), plan.limits))
            tuner = Tuner(asker, plan.tune, made.tokens, gold=made.gold)
            parts = tuple(tuner.costs(made.sample.chunks))
            return TuneCosts(made.sample, made.tokens.name, parts, plan.limits)

    return asyncio.run(costs())


@dataclass(frozen=True)
class _SetUp:
    """What a tuning begins with."""

    project: GraphProject
    corpus: Corpus
    tokens: TokenCounter
    sample: ChunkSample
    llm: ChosenLLM
    gold: TextSet | None


def _set_up(plan: TuneRecipe, progress: Progress | None) -> _SetUp:
    """All that is checked, read and loaded before the first call."""
    project = GraphProject.at(plan.root)
    if plan.apply:
        project.applied({})
    how = project.format_of(plan.corpus)
    if plan.text_field:
        how = replace(how, text_column=plan.text_field)
    corpus = read_corpus(plan.corpus or project.corpus, how)
    tokens = find_tokens(project.encoding)
    if project.by_sentences:
        text = "the project's chunks are sentences; here they are cut by tokens (chunking.type)"
        warnings.warn(text, DataWarning, stacklevel=2)
    chunks = chunks_of(corpus.texts, tokens, project.sizes)
    gold = None if plan.gold is None else read_gold(plan.gold)
    llm = connect(plan.llm, plan.limits, BUDGET, progress)
    settings = plan.tune

    def embed(texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return text_vectors(load_backbone(settings.embedder, progress=progress), texts)

    sample = select(chunks, settings.selection, settings.chunks, settings.seed, embed)
    return _SetUp(project, corpus, tokens, sample, llm, gold)


def _asked(plan: TuneRecipe, made: _SetUp, calls: Calls, tell: Observer) -> TunedSources:
    """What the LLM answers, and what ends it before."""
    goes_on = "what was answered is kept: the same command goes on"

    async def run() -> TunedSources:
        async with Engines() as engines:
            asker = await engines.asker(made.llm, calls)
            tuner = Tuner(asker, plan.tune, made.tokens, tell, made.gold)
            return await tuner.run(made.sample.chunks)

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped while the LLM was asked", where=str(plan.folder), hint=goes_on
        ) from None
    except BudgetSpent as error:
        raise ConfigError(
            "the budget does not last for all that has to be asked",
            where=BUDGET,
            got=f"{plan.budget}; spent: {calls.ledger.spent.text}",
            expected="more; --dry-run tells what it takes at most",
            hint=goes_on,
        ) from error
    except LLMError as error:
        raise error.replaced(hint=error.hint or goes_on) from error


def _written(plan: TuneRecipe, made: _SetUp, tuned: TunedSources) -> WrittenPrompts:
    limits = PromptLimits(plan.tune.prompt_tokens, lambda text: count(text, made.tokens), plan.weak)
    return DIALECTS[plan.dialect].write(tuned.sources, limits)


def _settings(plan: TuneRecipe, tuned: TunedSources, written: WrittenPrompts) -> dict[str, Any]:
    """What the project's settings should have, paths as seen from its folder."""
    found: dict[str, Any] = {
        name: _from(plan.root, plan.prompts / file) for name, file in written.settings.items()
    }
    if found:
        found["extract_graph.entity_types"] = list(tuned.sources.types)
    return found


def _from(root: Path, path: Path) -> str:
    """A path as settings name it, which GraphRAG reads from its project's folder."""
    try:
        return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()
