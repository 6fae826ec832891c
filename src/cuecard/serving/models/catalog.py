"""The prompts served now, and the requests that use them.

The catalog changes in one assignment. A request acquires its prompt once and keeps it to its end; a
prompt that is no longer served is dropped from the engine after its last request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from cuecard.artifacts import Prompt
from cuecard.engine.protocol import Engine, Held
from cuecard.errors import CuecardError
from cuecard.registry.records.references import LATEST
from cuecard.tasks.spec import TaskSpec

DEFAULT_ALIAS = "production"
"""What a bare name resolves to if that alias exists; otherwise to the newest version."""


class ModelNotFoundError(CuecardError):
    """A model name that is unknown, or not served here."""


class ModelNotReadyError(CuecardError):
    """A model that should be served and cannot answer at the moment."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedPrompt:
    """A version of a prompt that can answer.

    Attributes:
        name, number: the version, `name@number`.
        content: the SHA-256 of its files (`VersionRecord.content`).
        created: publication time, in seconds since 1970; 0 if unknown.
        prompt: the loaded prompt folder.
        held: the prompt as the engine takes it.
        spec: its task.
    """

    name: str
    number: int
    content: str
    created: int
    prompt: Prompt
    held: Held
    spec: TaskSpec

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def has_labels(self) -> bool:
        """Whether it answers with one of its labels, by their words or by a head."""
        mode = self.spec.mode
        return mode == "labels" or (mode == "head" and self.spec.task_kind.single_label)

    @property
    def scores_labels(self) -> bool:
        """Whether it gives each of its labels a probability: of one, or of any number that hold."""
        return self.has_labels or (self.spec.mode == "head" and self.spec.task_kind.has_thresholds)

    @property
    def has_other_head(self) -> bool:
        """Whether a head answers with something else than one label."""
        return self.spec.mode == "head" and not self.has_labels


@dataclass(frozen=True, slots=True)
class NameEntry:
    """What is served under one name.

    Attributes:
        versions: the versions that can answer, by number.
        aliases: the version each alias points at.
        refused: number -> why a version is never served here: made for another backbone, or not
            signed by a trusted key.
        broken: number -> why a version cannot answer at the moment.
        lost: alias -> the number it should point at, where that version cannot answer.
        loading: versions without an alias that are still to be loaded.
        unserved: versions that are left out because no alias points at them.
    """

    versions: Mapping[int, ServedPrompt] = field(default_factory=dict)
    aliases: Mapping[str, ServedPrompt] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    broken: Mapping[int, str] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    loading: frozenset[int] = frozenset()
    unserved: frozenset[int] = frozenset()

    @property
    def newest(self) -> ServedPrompt | None:
        """The highest version that can answer; None where a higher one is left out."""
        number = max({*self.versions, *self.unserved}, default=0)
        return self.versions.get(number)

    @property
    def default(self) -> ServedPrompt | None:
        """What the bare name means."""
        return self.aliases.get(DEFAULT_ALIAS) or self.newest

    @property
    def prompts(self) -> set[ServedPrompt]:
        """Every version that can be asked for."""
        return {*self.versions.values(), *self.aliases.values()}

    def get(self, target: str) -> ServedPrompt | None:
        """The version of an alias, a number, `latest`, or "" for the bare name; None: not here."""
        if not target:
            return self.default
        if target == LATEST:
            return self.newest
        if _is_number(target):
            return self.versions.get(int(target))
        return self.aliases.get(target)

    def why_not(self, model: str, target: str) -> CuecardError:
        """Why `get` found nothing."""
        if _is_number(target):
            number: int | None = int(target)
        elif target in ("", LATEST):
            number = max({*self.refused, *self.broken, *self.unserved}, default=None)
        else:
            number = self.lost.get(target)
        if number is not None and number in self.refused:
            why = self.refused[number]
            return ModelNotFoundError(f"The model '{model}' cannot be served here: {why}.")
        if number is not None and number in self.unserved:
            why = f"no alias points at {number}, and only versions with an alias are served"
            return ModelNotFoundError(f"The model '{model}' is not served here: {why}.")
        if number is not None and (number in self.broken or number in self.loading):
            why = self.broken.get(number, "it is still being loaded")
            return ModelNotReadyError(f"The model '{model}' cannot answer: {why}.")
        return _unknown(model)


class PromptCatalog:
    """The prompts of one server.

    Args:
        engine: holds and drops them.
        backbone: the name of the model without a prompt.
    """

    def __init__(self, engine: Engine, backbone: str) -> None:
        self.engine = engine
        self.backbone = backbone
        self.entries: Mapping[str, NameEntry] = {}
        self._uses: Counter[str] = Counter()
        self._retired: set[str] = set()

    @property
    def in_use(self) -> int:
        """The number of prompts that requests are using."""
        return len(self._uses)

    @contextmanager
    def acquire(self, model: str) -> Iterator[ServedPrompt | None]:
        """Resolve a model name and keep its prompt loaded inside the block; None: no prompt.

        Raises:
            ModelNotFoundError: unknown, or not served here.
            ModelNotReadyError: it should be served and cannot answer.
        """
        served = self.resolve(model)
        if served is None:
            yield None
            return
        digest = served.held.digest
        self._uses[digest] += 1
        try:
            yield served
        finally:
            self._uses[digest] -= 1
            if not self._uses[digest]:
                del self._uses[digest]

    def resolve(self, model: str) -> ServedPrompt | None:
        """What a model name means now; None for the backbone without a prompt.

        Raises:
            ModelNotFoundError, ModelNotReadyError: as `acquire`.
        """
        if model == self.backbone:
            return None
        name, at, target = model.partition("@")
        entry = self.entries.get(name)
        if entry is None or (at and not target):
            raise _unknown(model)
        found = entry.get(target)
        if found is None:
            raise entry.why_not(model, target)
        return found

    def replace(self, entries: Mapping[str, NameEntry]) -> None:
        """Serve these entries from now on."""
        before = self._digests()
        self.entries = entries
        self._retired = (self._retired | before) - self._digests()

    def release(self, digest: str) -> None:
        """Have the engine drop a prompt it holds, unless it is served."""
        if digest not in self._digests():
            self._retired.add(digest)

    async def drop_unused(self) -> None:
        """Drop from the engine what is neither served nor in use."""
        for digest in sorted(self._retired - set(self._uses)):
            await self.engine.drop(digest)
            self._retired.discard(digest)

    def _digests(self) -> set[str]:
        return {served.held.digest for entry in self.entries.values() for served in entry.prompts}


def _is_number(target: str) -> bool:
    return target.isascii() and target.isdigit() and len(target) <= 8


def _unknown(model: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"The model '{model}' does not exist or you do not have access to it."
    )
