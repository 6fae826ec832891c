"""A tuning of GraphRAG's prompts in one piece: texts, a project, an LLM, a budget."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator, model_validator

from cuecard.errors import ConfigError
from cuecard.graphrag.prompts.dialects import DIALECTS
from cuecard.graphrag.tuning.settings import TuneSettings
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.recipe_file import Section
from cuecard.search.budget import SearchBudget
from cuecard.tasks.similar import nearest

BUDGET = "--budget"


class TuneRecipe(Section):
    """Everything that tuned prompts depend on."""

    root: Path = Field(
        default=Path(), description="The GraphRAG project's folder; it need not have settings yet."
    )
    corpus: Path | None = Field(
        default=None,
        description="A file or a folder of texts (.txt, .md, .csv, .json, .jsonl, .parquet); by "
        "default the project's input.",
    )
    text_field: str | None = Field(
        default=None, description="Column of the text in tables; by default as in the settings."
    )
    gold: Path | None = Field(
        default=None,
        description="A JSONL file of texts with the entities and relations that are in them: "
        "examples and types are taken from it, and not asked for.",
    )
    dialect: str = Field(default="graphrag", description="Whose prompts are written.")
    weak: bool = Field(
        default=False,
        description="For a small model: a short prompt that finds entities, with answers in JSON.",
    )
    out: Path | None = Field(
        default=None, description="Folder of the prompts; by default prompts/tuned in the project."
    )
    apply: bool = Field(
        default=False, description="Name the prompts and types in the project's settings."
    )
    budget: str = Field(
        default="100 calls",
        description="Calls, tokens, money and time, such as '50 calls' or '200k tokens,$0.10'.",
    )
    tune: TuneSettings = Field(default=TuneSettings())
    llm: LLMRecipe

    @field_validator("dialect")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DIALECTS:
            raise ConfigError(
                "there is no such dialect",
                where="dialect",
                got=name,
                expected=", ".join(DIALECTS),
                hint=nearest(name, DIALECTS),
            )
        return name

    @field_validator("budget")
    @classmethod
    def _readable(cls, text: str) -> str:
        SearchBudget.parse(text, BUDGET)
        return text

    @model_validator(mode="after")
    def _fits(self) -> TuneRecipe:
        DIALECTS[self.dialect].check(weak=self.weak)
        if self.apply and (self.weak or self.dialect != "graphrag"):
            raise ConfigError(
                "only prompts that GraphRAG 3 reads can be put into its settings",
                where="apply",
                got="weak" if self.weak else f"dialect {self.dialect}",
                expected="the dialect graphrag, not weak",
                hint="without --apply they are written, and what to do with them is told",
            )
        return self

    @property
    def limits(self) -> SearchBudget:
        """What may be spent."""
        return SearchBudget.parse(self.budget, BUDGET)

    @property
    def folder(self) -> Path:
        """Where the journal and the report are."""
        return self.root / "tuning"

    @property
    def prompts(self) -> Path:
        """Where the prompts are."""
        return self.root / "prompts" / "tuned" if self.out is None else self.out
