"""What runs that extract have in common: texts, types, an LLM, a budget, a folder."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from cuecard.errors import ConfigError, Interrupted, LLMError
from cuecard.graphrag.chunks import ENCODING, ChunkSizes, chunks_of, find_tokens
from cuecard.graphrag.corpus import CorpusFormat, read_corpus
from cuecard.graphrag.gold import GoldText, TextSet, read_gold
from cuecard.graphrag.measuring.prompts import ExtractionPrompt, generic_prompt, read_prompt
from cuecard.graphrag.project.project import TYPES, GraphProject
from cuecard.graphrag.prompts.dialects import WEAK_FILE
from cuecard.graphrag.prompts.slots import EXTRACTION
from cuecard.graphrag.records import Extraction
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.recipe import BUDGET
from cuecard.runs.llm_recipe import LLMRecipe
from cuecard.runs.recipe_file import RunRecipe
from cuecard.search.budget import USUAL, BudgetSpent, SearchBudget

PROJECT = "project"
TUNED = {
    "tuned": f"prompts/tuned/{EXTRACTION.file}",
    "tuned-json": f"prompts/tuned/{WEAK_FILE}",
}
"""What `cuecard graphrag tune` leaves in a project."""


class ExtractionRecipe(RunRecipe, ABC):
    """What a run depends on that has an LLM extract.

    Attributes:
        DEFAULT: the folder under runs/ where none is named.
    """

    DEFAULT: ClassVar[str]

    gold: str | None = Field(
        default=None,
        description="A JSONL file of texts with the entities and relations that are in them.",
    )
    corpus: str | None = Field(
        default=None, description="A file or a folder of texts, without gold."
    )
    root: str | None = Field(
        default=None,
        description="A GraphRAG project: its texts, chunks, types and extraction prompt.",
    )
    chunk_size: int | None = Field(
        default=None, ge=1, description="Tokens of a corpus' chunk; by default the project's, 1200."
    )
    types: tuple[str, ...] = Field(
        default=(),
        description="Types of entities, separated by commas; by default those of the gold set, or "
        "the project's.",
    )
    type_names: dict[str, str] = Field(
        default_factory=dict, description="Another name for a type of the gold set."
    )
    limit: int | None = Field(
        default=None, ge=1, description="Use so many of the texts, drawn by the seed."
    )
    seed: int = Field(default=0, ge=0, description="Seed of all that is left to chance.")
    form: Literal["auto", "tuples", "json"] = Field(
        default="auto",
        description="How answers are written. auto: in tuples where a prompt shows GraphRAG's "
        "delimiter, in JSON where it does not and speaks of JSON.",
    )
    max_tokens: int = Field(default=1500, ge=1, description="The most tokens of an answer.")
    budget: str = Field(
        default="5000 calls",
        description="Calls, tokens, money and time, such as '2000 calls' or '1M tokens,$0.50,30m'.",
    )
    llm: LLMRecipe | None = Field(default=None)
    out: str | None = Field(default=None, description="Folder of the run.")

    @field_validator("budget")
    @classmethod
    def _readable(cls, text: str) -> str:
        SearchBudget.parse(text, BUDGET)
        return text

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = {"--gold": self.gold, "--corpus": self.corpus}
        named = [flag for flag, value in given.items() if value is not None]
        if len(named) == 2 or not (named or self.root):
            raise ConfigError(
                "texts come from one place",
                where="the texts",
                got=" and ".join(named) or "nothing",
                expected="--gold FILE, --corpus PATH, or --root with a project's folder",
            )
        return self

    @property
    def limits(self) -> SearchBudget:
        """What may be spent."""
        return SearchBudget.parse(self.budget, BUDGET)

    @property
    def folder(self) -> Path:
        """Where the run is kept."""
        return Path(self.out) if self.out else Path("runs") / self.DEFAULT

    @property
    def paths(self) -> tuple[str, ...]:
        """What may be a path."""
        model = None if self.llm is None or self.llm.url else self.llm.model
        return tuple(x for x in (self.gold, self.corpus, self.root, model) if x is not None)

    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""
        return self.model_copy(update={"out": str(folder)})

    @property
    def project(self) -> GraphProject | None:
        """The project; None where none is named.

        Raises:
            ConfigError: its settings cannot be read.
        """
        return None if self.root is None else GraphProject.at(self.root)

    def read_texts(self) -> TextSet:
        """The texts, with other names for types where these are given.

        Raises:
            ConfigError, DataError, FileError: they cannot be read.
        """
        if self.gold is not None:
            found = read_gold(self.gold)
            found.check_types(self.type_names, "--type-name")
            return found.renamed(self.type_names).drawn(self.limit, self.seed)
        if self.type_names:
            raise ConfigError(
                "types are renamed where gold has types of its own",
                where="--type-name",
                got=", ".join(self.type_names),
                expected="--types beside a corpus, --type-name beside --gold",
            )
        return self._chunks().drawn(self.limit, self.seed)

    def _chunks(self) -> TextSet:
        project, place = self.project, None if self.corpus is None else Path(self.corpus)
        sizes, encoding, how = ChunkSizes(), ENCODING, CorpusFormat()
        if project is not None:
            place = place or project.corpus
            sizes, encoding, how = project.sizes, project.encoding, project.format_of(self.corpus)
        assert place is not None  # see _one_source
        if self.chunk_size is not None:
            sizes = ChunkSizes(self.chunk_size, self.chunk_size // 10, sizes.fields)
        chunks = chunks_of(read_corpus(place, how).texts, find_tokens(encoding), sizes)
        texts = [
            GoldText(each.text, Extraction(), row, each.source)
            for row, each in enumerate(chunks, 1)
        ]
        return TextSet(str(place), tuple(texts))

    def entity_types(self, texts: TextSet) -> tuple[str, ...]:
        """The types of entities that are asked for."""
        if self.types or texts.labelled:
            return self.types or texts.types
        project = self.project
        return TYPES if project is None else project.types

    def project_prompts(self) -> dict[str, str]:
        """The extraction prompts of the project by name: the one that it uses, and those beside it.

        Raises:
            ConfigError: its settings cannot be read.
        """
        project = self.project
        if project is None:
            return {}
        named = project.section(EXTRACTION.section).get(EXTRACTION.key)
        used = project.root / str(named or f"prompts/{EXTRACTION.file}")
        found = {PROJECT: used} if named or used.is_file() else {}
        for name, file in TUNED.items():
            place = project.root / file
            if place.is_file() and place not in found.values():
                found[name] = place
        return {name: str(place) for name, place in found.items()}

    def prompt_or_best(self, prompt: str | None) -> ExtractionPrompt:
        """A prompt's file; without one what was tuned for the project, or what it uses, or a
        generic one.

        Raises:
            ConfigError, FileError: it cannot be read, or GraphRAG could not format it.
        """
        found = self.project_prompts()
        own = next((found[name] for name in (*TUNED, PROJECT) if name in found), None)
        file = prompt or own
        return generic_prompt() if file is None else read_prompt(file, "", self.form)

    def needed_llm(self) -> LLMRecipe:
        """The LLM.

        Raises:
            ConfigError: there is none.
        """
        if self.llm is None:
            raise ConfigError(
                "there is no LLM that extracts",
                where="--llm",
                expected="a model of the catalogue, a folder, or one of an endpoint (--llm-url)",
            )
        return self.llm


@contextmanager
def sitting(place: RunFolder[Any]) -> Iterator[None]:
    """Turn what ends a sitting into an error that says how to go on.

    Raises:
        Interrupted: Ctrl-C.
        ConfigError: the budget is spent.
        LLMError: the LLM does not answer.
    """
    resume = place.resume_command
    try:
        with own_budget_flag():
            yield
    except KeyboardInterrupt:
        raise Interrupted(
            "stopped; what was answered is in its journal",
            where=str(place.path),
            hint=f"go on with: {resume}",
        ) from None
    except BudgetSpent as error:
        raise ConfigError(
            "the budget does not last",
            where=BUDGET,
            got=str(error),
            expected="enough for all that --dry-run shows",
            hint="answers are kept: the same command with a larger budget goes on",
        ) from error
    except LLMError as error:
        hint = error.hint or f"answers are kept; once it answers: {resume}"
        raise error.replaced(hint=hint) from error


@contextmanager
def own_budget_flag() -> Iterator[None]:
    """Name the flag of these commands where a search finds its budget too small.

    Raises:
        ConfigError: the block raised one.
    """
    try:
        yield
    except ConfigError as error:
        if error.where != USUAL:
            raise
        raise error.replaced(where=BUDGET) from error
