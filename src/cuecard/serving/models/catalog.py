"""The prompts that are served now, and which requests use them.

What is served changes in one assignment. A request takes its prompt once and keeps it, so that it
ends with what it began with; a prompt that is served no more is dropped when its last request ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from cuecard.artifacts import Prompt
from cuecard.engine.protocol import Engine, Held
from cuecard.registry.records.references import LATEST
from cuecard.serving.protocol.errors import Refusal
from cuecard.tasks.spec import TaskSpec

DEFAULT_ALIAS = "production"
"""Where a name alone leads if there is such an alias; to the newest version otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A version of a prompt that can answer.

    Attributes:
        name, number: the version, `name@number`.
        content: the SHA-256 of its files (`VersionRecord.content`).
        created: when it was published, in seconds since 1970; 0 where unknown.
        prompt: everything that was saved with it.
        held: what the engine takes.
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


@dataclass(frozen=True, slots=True)
class Shown:
    """What one name offers.

    Attributes:
        versions: those that can answer, by number.
        aliases: the version that each alias leads to.
        refused: number -> why a version is not served here: made for another backbone, or not
            signed by a trusted key.
        broken: number -> why a version that should be there cannot answer.
        lost: alias -> the number that it should lead to, where that one cannot answer.
        loading: versions that no alias leads to and that are still to be loaded.
    """

    versions: Mapping[int, Served] = field(default_factory=dict)
    aliases: Mapping[str, Served] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    broken: Mapping[int, str] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    loading: frozenset[int] = frozenset()

    @property
    def newest(self) -> Served | None:
        """The highest version that can answer."""
        return self.versions[max(self.versions)] if self.versions else None

    @property
    def default(self) -> Served | None:
        """What the name alone means."""
        return self.aliases.get(DEFAULT_ALIAS) or self.newest

    @property
    def every(self) -> set[Served]:
        """All that can be asked for."""
        return {*self.versions.values(), *self.aliases.values()}


class Shelf:
    """The prompts of one server.

    Args:
        engine: what holds and drops them.
        backbone: what the model without a prompt is called.
    """

    def __init__(self, engine: Engine, backbone: str) -> None:
        self.engine = engine
        self.backbone = backbone
        self.shown: Mapping[str, Shown] = {}
        self._uses: Counter[str] = Counter()
        self._gone: set[str] = set()

    @property
    def in_use(self) -> int:
        """Prompts that requests are using now."""
        return len(self._uses)

    @contextmanager
    def using(self, model: str) -> Iterator[Served | None]:
        """The prompt that a request names, kept for as long as the block runs; None: no prompt.

        Raises:
            Refusal: 404 for what is not there, 503 for what should be and cannot answer.
        """
        served = self.find(model)
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

    def find(self, model: str) -> Served | None:
        """What a model's name means now; None for the backbone without a prompt.

        Raises:
            Refusal: as `using`.
        """
        if model == self.backbone:
            return None
        name, at, target = model.partition("@")
        shown = self.shown.get(name)
        if shown is None or (at and not target):
            raise _unknown(model)
        found = _found(shown, target)
        if found is None:
            raise _unavailable(shown, model, target)
        return found

    def replace(self, shown: Mapping[str, Shown]) -> None:
        """Serve something else from now on."""
        before = self._digests()
        self.shown = shown
        now = self._digests()
        self._gone = (self._gone | before) - now

    def leave(self, digest: str) -> None:
        """Have a prompt dropped that the engine holds, unless it is served."""
        if digest not in self._digests():
            self._gone.add(digest)

    async def drop_unused(self) -> None:
        """Have the engine forget what is neither served nor in use."""
        for digest in sorted(self._gone - set(self._uses)):
            await self.engine.drop(digest)
            self._gone.discard(digest)

    def _digests(self) -> set[str]:
        return {served.held.digest for shown in self.shown.values() for served in shown.every}


def _found(shown: Shown, target: str) -> Served | None:
    if not target:
        return shown.default
    if target == LATEST:
        return shown.newest
    if target.isascii() and target.isdigit() and len(target) <= 8:
        return shown.versions.get(int(target))
    return shown.aliases.get(target)


def _unavailable(shown: Shown, model: str, target: str) -> Refusal:
    """Why a name that is known has no answer."""
    if target.isascii() and target.isdigit() and len(target) <= 8:
        number: int | None = int(target)
    elif target in ("", LATEST):
        number = max({*shown.refused, *shown.broken}, default=None)
    else:
        number = shown.lost.get(target)
    if number is not None and number in shown.refused:
        return Refusal(
            404,
            "model_not_found",
            f"The model '{model}' cannot be served here: {shown.refused[number]}.",
            param="model",
        )
    if number is not None and (number in shown.broken or number in shown.loading):
        why = shown.broken.get(number, "it is still being loaded")
        return Refusal(
            503,
            "model_not_ready",
            f"The model '{model}' cannot answer: {why}.",
            param="model",
            retry_after=5,
        )
    return _unknown(model)


def _unknown(model: str) -> Refusal:
    return Refusal(
        404,
        "model_not_found",
        f"The model '{model}' does not exist or you do not have access to it.",
        param="model",
    )
