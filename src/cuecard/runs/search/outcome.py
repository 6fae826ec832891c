"""What a search led to: the prompt, its gain, what it took; as JSON and as a report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from cuecard.artifacts import Prompt
from cuecard.evaluation.evaluate import Evaluation, Gain
from cuecard.evaluation.report import interval_text, paired, plain
from cuecard.runs.search.judge import Judge, judge_line
from cuecard.runs.search.recipe import SearchRecipe
from cuecard.search.candidate import AS_IT_WAS
from cuecard.search.found import Found
from cuecard.search.searchers import left_out
from cuecard.tasks import TaskSpec


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
        template, start_template: what was kept and what was to be improved, exactly, with a
            record's fields by name.
        prompt: the same for the backbone, without tensors; None where an LLM answered.
        test, start: the kept prompt and the one that was to be improved on the test rows; None
            without these.
        gain: of the one over the other; None without test rows, and where nothing was better.
        score: what candidates were scored by.
        asked: the task in the words that were kept.
        judge: the LLM that gave the scores; None where a rule did.
    """

    recipe: SearchRecipe
    found: Found
    template: str
    start_template: str
    prompt: Prompt | None
    test: Evaluation | None
    start: Evaluation | None
    gain: Gain | None
    score: str
    asked: TaskSpec
    judge: Judge | None = None

    @property
    def metric(self) -> str:
        """What candidates were scored by, in words."""
        return self.score if ":" in self.score else self.score.replace("_", " ")

    @property
    def heading(self) -> str:
        """What the prompt below it is."""
        if self.found.better:
            return "The prompt that was found:"
        if len(self.found.ranked) == 1:
            why = "No candidate could be used" if self.found.rounds else "No candidate was compared"
            return f"{why}. The prompt as it was:"
        return "No candidate was better than the prompt as it was:"

    @property
    def beside(self) -> str:
        """What was found beside the template, in words; "" for nothing."""
        return self.found.best.beside

    @property
    def doubt(self) -> str:
        """Whether chance may have made the kept prompt look better, in words; "" where not."""
        if self.found.margin is None:
            return ""
        value, ci95 = self.found.margin
        if ci95.low > 0:
            return ""
        return (
            f"It is better by {value:.3f} on the validation rows ({paired(ci95)}), which may be "
            "chance; more of them would tell."
        )

    @property
    def tested(self) -> list[TestedPrompt]:
        """Who answered the test rows: the prompt as it was, and the one that was found."""
        both = {AS_IT_WAS: self.start, "found": self.test if self.found.better else None}
        return [TestedPrompt(n, one, self.score) for n, one in both.items() if one is not None]

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        found, gain = self.found, self.gain
        return {
            "searcher": self.recipe.searcher,
            "budget": self.recipe.budget,
            "score": self.score,
            "solver": self.recipe.solver
            and self.recipe.solver.model_dump(include={"model", "url"}),
            "better": found.better,
            "rounds": found.rounds,
            "ended": found.ended,
            "told": list(found.told),
            "spent": found.spent.priced(),
            "judge": None if self.judge is None else self.judge.to_dict(),
            "template": self.template,
            "start_template": self.start_template,
            **found.racers_to_dict(),
            "test": None if self.test is None else self.test.to_dict(),
            "start_test": None if self.start is None else self.start.to_dict(),
            "gain": None if gain is None else plain({"value": gain.value, "ci95": gain.ci95}),
        }


def search_markdown(outcome: SearchOutcome) -> str:
    """The report: what was found, what it gained, what it took."""
    found = outcome.found
    lines = [
        f"# Prompt search: {outcome.recipe.recipe.data.name}",
        "",
        outcome.heading,
        "",
        "```text",
        outcome.template.replace("```", "'''"),
        "```",
        "",
        *([outcome.beside, ""] if outcome.beside else []),
        *([outcome.doubt, ""] if outcome.doubt else []),
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
        f"{outcome.recipe.searcher}: {found.effort}.",
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
