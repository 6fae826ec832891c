"""Runs a search: its journal, what answers and what writes, the test, the report."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.catalogue import Progress
from cuecard.errors import ConfigError, Interrupted
from cuecard.evaluation.baselines.manual import ManualPrompt, default_manual_prompts
from cuecard.evaluation.evaluate import Evaluation, Gain, evaluate, gain, scored_too
from cuecard.evaluation.report import interval_text, plain, write_json
from cuecard.lazy import torch
from cuecard.llms.protocol import LLM
from cuecard.plain_files import write_text
from cuecard.progress_bar import with_progress_bar
from cuecard.runs.folder import RunFolder
from cuecard.runs.search_judge import Judge, RatedAnswer, check_judge, judge_line, open_judge
from cuecard.runs.search_llm import ChosenLLM, Engines, choose_llm
from cuecard.runs.search_recipe import JudgeRecipe, LLMRecipe, SearchRecipe
from cuecard.search.asker import Asker
from cuecard.search.budget import MICRO, BudgetSpent, SearchBudget
from cuecard.search.calls import Calls
from cuecard.search.candidate import PromptCandidate, digest
from cuecard.search.journal import FILE, Journal
from cuecard.search.loop import Found, Search
from cuecard.search.model import SearchModel
from cuecard.search.scorer import RowScorer, Scorer
from cuecard.search.searcher import Observer
from cuecard.search.searchers import SEARCHERS, at_hand, left_out
from cuecard.search.solver import EngineSolver
from cuecard.tasks import Task
from cuecard.tasks.kinds import KINDS
from cuecard.types import Backbone, InputTokens

JSON, MARKDOWN = "search.json", "search.md"


@dataclass(frozen=True)
class TestedPrompt:
    """A prompt on the test rows.

    Attributes:
        metric: what candidates were scored by.
    """

    name: str
    found: Evaluation
    metric: str

    @property
    def score(self) -> float:
        """By its metric."""
        return float(self.found.metrics[self.metric])

    @property
    def ci95(self) -> str:
        """Its 95% interval."""
        return interval_text(self.found.ci95[self.metric])


@dataclass(frozen=True)
class SearchOutcome:
    """What a search led to.

    Attributes:
        prompt: the words that were kept, without tensors.
        test, start: the kept prompt and the one that was to be improved on the test rows; None
            without these.
        gain: of the one over the other; None without test rows, and where nothing was better.
        score: what candidates were scored by.
        judge: the LLM that gave the scores; None where a rule did.
    """

    recipe: SearchRecipe
    found: Found
    prompt: Prompt
    test: Evaluation | None
    start: Evaluation | None
    gain: Gain | None
    score: str
    judge: Judge | None = None

    @property
    def metric(self) -> str:
        """What candidates were scored by, in words."""
        return self.score if ":" in self.score else self.score.replace("_", " ")

    @property
    def beside(self) -> str:
        """What was found beside the template, in words; "" for nothing."""
        told, best = [], self.found.best
        if best.prompt.words is not None:
            told.append(f"words: {_pairs(best.prompt.words)}")
        if best.prior is not None:
            off = {label: f"{value:+.2f}" for label, value in best.prior.items()}
            told.append(f"taken off the labels' scores: {_pairs(off)}")
        return "; ".join(told)

    @property
    def tested(self) -> list[TestedPrompt]:
        """Who answered the test rows: the prompt as it was, and the one that was found."""
        both = {"as it was": self.start, "found": self.test if self.found.better else None}
        return [TestedPrompt(n, one, self.score) for n, one in both.items() if one is not None]

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        found, gain = self.found, self.gain
        return {
            "searcher": self.recipe.searcher,
            "budget": self.recipe.budget,
            "score": self.score,
            "better": found.better,
            "rounds": found.rounds,
            "ended": found.ended,
            "told": list(found.told),
            "spent": {
                "calls": found.spent.calls,
                "tokens": found.spent.tokens,
                "dollars": found.spent.money / MICRO,
            },
            "judge": None if self.judge is None else self.judge.to_dict(),
            "template": self.prompt.spec.template,
            "validation": [
                {"origin": r.candidate.origin, "score": r.score, **r.candidate.to_dict()}
                for r in found.finals
            ],
            "candidates": [
                {"origin": r.candidate.origin, "score": r.score, "rows": len(r.answers)}
                for r in found.ranked
            ],
            "test": None if self.test is None else self.test.to_dict(),
            "start_test": None if self.start is None else self.start.to_dict(),
            "gain": None if gain is None else plain({"value": gain.value, "ci95": gain.ci95}),
        }


@with_progress_bar
def run_search(
    plan: SearchRecipe,
    *,
    observer: Observer | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> SearchOutcome:
    """Search; the folder holds the journal, the prompt, `search.json` and `search.md`.

    The same search in the folder goes on, and pays for no call twice.

    Args:
        observer: called with every event.
        overwrite: start again where the folder holds another one.

    Raises:
        CuecardError: see `Task.from_file`, `load_backbone` and `Search.run`.
        Interrupted: Ctrl-C; what was answered is kept.
    """
    recipe, place = plan.recipe, RunFolder.of(plan)
    recipe.check_one_seed("a search")
    _check_needs(plan)
    place.check(plan, overwrite=overwrite)
    task = recipe.read_task(progress)
    if task.spec.mode not in ("labels", "text"):
        raise ConfigError(
            "words can be searched for where a model answers in words",
            where="kind",
            got=f"{task.spec.kind}, answered by a trained head",
            expected="labels that are told by their words, or texts",
        )
    rated = check_judge(plan, task)
    scorer = RowScorer(task.spec, None if plan.judge is not None else plan.score)
    writer = None if plan.llm is None or plan.llm.is_here else _chosen(plan, plan.llm)
    backbone = recipe.load_backbone(progress)
    if plan.llm is not None and plan.llm.is_here:
        writer = _chosen(plan, plan.llm, answering=backbone, progress=progress)
    judge = None if plan.judge is None else _chosen_judge(plan, plan.judge, backbone, progress)
    with place.claimed(plan, overwrite=overwrite) as folder:
        start = _start(plan, task)
        try:
            outcome = asyncio.run(
                _search(plan, task, backbone, start, folder, writer, judge, rated, scorer, observer)
            )
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped during the search; what was answered is in its journal",
                where=str(folder),
                hint=f"go on with: {place.resume_command}",
            ) from None
        outcome.prompt.save(folder / "prompt")
        _write(outcome, folder)
    return outcome


def _check_needs(plan: SearchRecipe) -> None:
    """Refuse a searcher that lacks what it needs."""
    labels = KINDS[plan.recipe.task.kind].labelled
    has = at_hand(llm=plan.llm is not None, labels=labels)
    missing = SEARCHERS[plan.searcher].missing(has)
    if missing is not None:
        raise ConfigError(
            f"this searcher needs {missing}",
            where=f"--searcher {plan.searcher}",
            got="none",
            hint="without: "
            + ", ".join(name for name, one in SEARCHERS.items() if one.missing(has) is None),
        )


def resume_search(folder: str | Path, **options: Any) -> SearchOutcome:
    """Go on with the search in a folder; options as in `run_search`.

    Raises:
        TrainingError: there is no search.
    """
    return run_search(RunFolder(Path(folder), SearchRecipe).to_resume(), **options)


def _start(plan: SearchRecipe, task: Task) -> PromptCandidate:
    """The prompt that is to be improved."""
    spec = task.spec
    if plan.instruction is not None:
        text = f"{plan.instruction.strip()}\n\n" if plan.instruction.strip() else ""
        prompt = ManualPrompt("start", spec.template, text, chat=spec.chat, system=spec.system)
    else:
        tried = default_manual_prompts(spec, chat=False)
        prompt = next(each for each in tried if each.name == "instruction")
    return PromptCandidate(prompt, "as it was")


async def _search(
    plan: SearchRecipe,
    task: Task,
    backbone: Backbone,
    start: PromptCandidate,
    folder: Path,
    writer: ChosenLLM | None,
    judging: ChosenLLM | None,
    rated: list[RatedAnswer],
    scorer: Scorer,
    observer: Observer | None,
) -> SearchOutcome:
    about = {
        "data": task.report.data_hash,
        "backbone": backbone.fingerprint.weights,
        "searcher": plan.searcher,
        "start": start.key,
        "settings": plan.search.model_dump(mode="json"),
        "llm": None if writer is None else writer.identity,
        # Left out where none is named, so that journals of earlier versions are the same search's.
        **({} if plan.score is None else {"score": plan.score}),
        **({} if judging is None else {"judge": judging.identity}),
    }
    journal = Journal(folder / FILE, digest(about))
    calls = Calls(journal, SearchBudget.parse(plan.budget))
    engines, llms = Engines(), list[LLM]()
    try:
        asker = None
        if writer is not None:
            llms.append(await writer.llm(engines))
            asker = Asker(llms[0], calls, writer.price)
        judge = None
        if plan.judge is not None and judging is not None:
            llms.append(await judging.llm(engines))
            tell = observer or (lambda event: None)
            judge = await open_judge(
                plan, plan.judge, task, judging, llms[-1], calls, folder, rated, tell
            )
            scorer = judge.scorer
        engine = await engines.of(backbone)
        solver = EngineSolver(engine, backbone.fingerprint.weights, task.spec, calls, scorer)
        searcher = SEARCHERS[plan.searcher].make()
        search = Search(
            task,
            start,
            searcher,
            solver,
            calls,
            plan.search,
            asker=asker,
            model=SearchModel(backbone, calls),
            observer=observer,
        )
        found = await search.run()
        return replace(await _outcome(plan, task, backbone, found, scorer), judge=judge)
    finally:
        await engines.close()
        for llm in llms:
            await llm.close()


def _chosen(plan: SearchRecipe, settings: LLMRecipe, **options: Any) -> ChosenLLM:
    return choose_llm(settings, plan.recipe, SearchBudget.parse(plan.budget), **options)


def _chosen_judge(
    plan: SearchRecipe, settings: JudgeRecipe, backbone: Backbone, progress: Progress | None
) -> ChosenLLM:
    budget = SearchBudget.parse(settings.budget, "--judge-budget")
    return choose_llm(
        settings, plan.recipe, budget, flag="--judge-llm", answering=backbone, progress=progress
    )


async def _outcome(
    plan: SearchRecipe, task: Task, backbone: Backbone, found: Found, scorer: Scorer
) -> SearchOutcome:
    """Test what was found and the start, once, and make the prompt."""
    soft = None if found.best.soft is None else found.best.soft.injection
    test = start = difference = None
    if task.test:
        start = await _tested(backbone, found.start, task, scorer)
        test = await _tested(backbone, found.best, task, scorer) if found.better else start
        if found.better:
            difference = gain(test, start, metric=scorer.name)
    validation = next(r.score for r in found.finals if r.candidate.key == found.best.key)
    metrics: dict[str, Any] = {"validation": {"score": validation}}
    if test is not None:
        metrics["test"] = test.to_dict()["metrics"]
    prompt = Prompt.create(
        soft or InputTokens(torch.zeros(0, backbone.hidden_size)),
        backbone=backbone,
        spec=found.best.to_spec(task.spec, backbone.tokenizer, backbone.max_positions),
        slot="prefix",
        prior=found.best.prior,
        method="search",
        method_config={
            "searcher": plan.searcher,
            "origin": found.best.origin,
            "parts": found.best.parts,
        },
        data_hash=task.report.data_hash,
        rows=RowsEntry.of(task.train, task.validation),
        seed=plan.search.seed,
        metrics=metrics,
    )
    return SearchOutcome(plan, found, prompt, test, start, difference, scorer.name)


async def _tested(
    backbone: Backbone, candidate: PromptCandidate, task: Task, scorer: Scorer
) -> Evaluation:
    """A prompt on the test rows, also by what candidates were scored by."""
    spec = candidate.to_spec(task.spec, backbone.tokenizer, backbone.max_positions)
    soft = None if candidate.soft is None else candidate.soft.injection
    found = evaluate(
        backbone, spec, task.test, soft, prior=candidate.prior, on_rows=_end_if_cancelled
    )
    if scorer.name in found.vectors:
        return found
    answers = [each.answer for each in found.predictions]
    try:
        return scored_too(found, scorer.name, await scorer.scores(task.test, answers))
    except BudgetSpent as error:
        raise ConfigError(
            "the budget does not last for the scores of the test rows",
            where=error.flag,
            got=str(error),
            expected=f"enough for {len(task.test)} more answers, twice",
            hint="all that was answered is kept: the same command with a larger budget goes on",
        ) from error


def _end_if_cancelled(rows: int) -> None:
    """Ctrl-C cancels the task that this runs in, which never waits while it evaluates."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _pairs(values: Mapping[str, str]) -> str:
    return ", ".join(f"{label} {value}" for label, value in values.items())


def _write(outcome: SearchOutcome, folder: Path) -> None:
    write_json(outcome.to_dict(), folder / JSON)
    write_text(search_markdown(outcome), folder / MARKDOWN)


def search_markdown(outcome: SearchOutcome) -> str:
    """The report: what was found, what it gained, what it took."""
    found, spent = outcome.found, outcome.found.spent
    lines = [
        f"# Prompt search: {outcome.recipe.recipe.data.name}",
        "",
        "The prompt that was found:" if found.better else "Nothing was better than the prompt was:",
        "",
        "```text",
        outcome.prompt.spec.template.replace("```", "'''"),
        "```",
        "",
        *([outcome.beside, ""] if outcome.beside else []),
    ]
    if outcome.tested:
        lines += [
            f"| on {len(outcome.tested[0].found.records):,} test rows | {outcome.metric} | 95% |",
            "|---|---|---|",
            *(f"| {one.name} | {one.score:.3f} | {one.ci95} |" for one in outcome.tested),
            "",
        ]
        if outcome.gain is not None:
            gained = f"{outcome.gain.value:+.3f} ({interval_text(outcome.gain.ci95)})"
            lines += [f"Gain on the same rows: {gained}", ""]
    lines += [
        "| on validation rows | score |",
        "|---|---|",
        *(f"| {racer.candidate.origin} | {racer.score:.3f} |" for racer in found.finals),
        "",
        f"{outcome.recipe.searcher}: {len(found.ranked)} candidates in {found.rounds} rounds, "
        f"{spent.calls:,} calls, {spent.tokens:,} tokens, ${spent.money / MICRO:.4f}; "
        f"{found.ended}.",
        *_about_turns(found),
    ]
    if outcome.judge is not None:
        lines += ["", f"{judge_line(outcome.judge)}."]
    return "\n".join(lines) + "\n"


def _about_turns(found: Found) -> list[str]:
    """Which searchers of a portfolio had turns, and which were left out."""
    turns = Counter(each["searcher"] for each in found.told if each["event"] == "turn")
    out = {
        name: why
        for each in found.told
        if each["event"] == "left out"
        for name, why in each["searchers"].items()
    }
    named = ", ".join(f"{name} {count}" for name, count in turns.most_common())
    return [
        *([f"Rounds by searcher: {named}."] if turns else []),
        *([f"Left out: {left_out(out)}."] if out else []),
    ]
