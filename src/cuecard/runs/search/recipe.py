"""A search for a prompt's words in one piece: a task, a searcher, a budget, an LLM that writes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from cuecard.errors import ConfigError
from cuecard.metrics.scores import check_score_name
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.recipe import AroundRecipe
from cuecard.runs.run_kinds import SEARCH
from cuecard.search.budget import SearchBudget
from cuecard.search.searchers import SEARCHERS
from cuecard.search.settings import SearchSettings
from cuecard.tasks.similar import nearest

JUDGE = "judge:"
"""What a score begins with that an LLM gives."""


class JudgeRecipe(LLMRecipe):
    """The LLM that judges answers."""

    FLAG: ClassVar[str] = "--judge-llm"
    PREFIX: ClassVar[str] = "--judge-llm"

    model: str = Field(
        description="The LLM that judges answers for --score judge: a model of the catalogue, a "
        "local folder, or one of an endpoint."
    )
    budget: str = Field(
        default="5000 calls",
        description="Calls, tokens, money and time of the LLM that judges, which are not those of "
        "the search.",
    )
    labels: str | None = Field(
        default=None,
        description="A file of rows with answers that people rated. A judge that does not rate "
        "them alike is refused.",
    )
    answer_field: str = Field(default="answer", description="Column of the rated answers.")
    rating_field: str = Field(default="rating", description="Column of people's ratings.")
    agreement: float = Field(
        default=0.4,
        ge=-1,
        le=1,
        description="The least Spearman correlation of the judge's ratings with people's.",
    )

    @field_validator("budget")
    @classmethod
    def _readable(cls, text: str) -> str:
        SearchBudget.parse(text, "--judge-budget")
        return text


class SolverRecipe(LLMRecipe):
    """The LLM that answers the task's rows, instead of a backbone."""

    FLAG: ClassVar[str] = "--solver-llm"
    PREFIX: ClassVar[str] = "--solver"

    model: str = Field(
        description="The LLM that answers the rows, in its own words, instead of the backbone: of "
        "an endpoint, as it is called there, or a model of the catalogue or a local folder."
    )


class SearchRecipe(AroundRecipe):
    """Everything that a search depends on.

    Attributes:
        recipe: the task, the backbone that answers, and the folder.
        policy: what rlprompt writes with; None for the backbone.
        solver: what answers instead of the backbone; None where that does.
        llm: what writes; None for searchers that need none.
    """

    KIND = SEARCH

    searcher: str = Field(
        default="auto",
        description="How candidates are found; by default by all that is possible here, in turns.",
    )
    instruction: str | None = Field(
        default=None,
        description="The instruction that is to be improved; by default one that names the labels.",
    )
    start: str | None = Field(
        default=None,
        exclude_if=lambda folder: folder is None,
        description="A prompt's folder, or a run's or a search's, or another tool's file (.txt, "
        "DSPy's .json, promptfoo's .yaml): its words, or those nearest to its vectors, race before "
        "the first round.",
    )
    budget: str = Field(
        default="10m",
        description="Calls, tokens, money and time, such as '2000 calls' or '1M tokens,$0.50,30m'. "
        "A row that the backbone answers is a call.",
    )
    score: str | None = Field(
        default=None,
        description="What an answer in text-to-text is worth: exact_match, token_f1, rouge_l (by "
        "default), regex:PATTERN, json-schema:FILE, your own module:function of the answer, the "
        "target and the record, or judge:QUESTION for an LLM that rates it.",
    )
    policy: str | None = Field(
        default=None,
        exclude_if=lambda model: model is None,
        description="Of rlprompt: the causal model that writes, of the catalogue or a local "
        "folder; by default the backbone itself. Its tokens need not be the backbone's.",
    )
    search: SearchSettings = Field(default=SearchSettings())
    solver: SolverRecipe | None = Field(default=None)
    llm: LLMRecipe | None = Field(default=None)
    judge: JudgeRecipe | None = Field(default=None)

    @field_validator("searcher")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in SEARCHERS:
            raise ConfigError(
                "there is no such searcher",
                where="searcher",
                got=name,
                expected=", ".join(SEARCHERS),
                hint=nearest(name, SEARCHERS),
            )
        return name

    @field_validator("score")
    @classmethod
    def _nameable(cls, name: str | None) -> str | None:
        if name is not None and not name.startswith(JUDGE):
            check_score_name(name, f", or {JUDGE}QUESTION")
        return name

    @field_validator("budget")
    @classmethod
    def _readable(cls, text: str) -> str:
        SearchBudget.parse(text)
        return text

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path: those of the task, models without an address, rated answers, ..."""
        models = tuple(each.model for each in self.llms if each.url is None)
        more = (None if self.judge is None else self.judge.labels, self.start, self.policy)
        return (*self.recipe.paths, *models, *(path for path in more if path is not None))

    @property
    def llms(self) -> tuple[LLMRecipe, ...]:
        """The LLMs that are asked: what answers, what writes, what judges."""
        return tuple(each for each in (self.solver, self.llm, self.judge) if each is not None)
