"""Where vectors start: settings and inits that every method of input tokens shares.

Lester, Al-Rfou, Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning" (EMNLP 2021),
section 3.2 (random, sampled vocabulary, class labels), and SPoT (Vu et al. 2022) for a start from
another prompt. The random init is scaled to the embedding table's RMS: a unit normal beside
embeddings of 0.02 is why public random inits often do not learn. For images: `image_start.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.methods.image_start import LAYERED, PatchChoice
from cuecard.methods.settings import MethodSettings
from cuecard.types import InitContext

if TYPE_CHECKING:
    from torch import Tensor

OfWords = Literal["random", "vocabulary", "text", "labels", "prompt", "meta"]
Init = OfWords | Literal["xavier", "patches", "vipamin"]

META = "meta"
"""The init of vectors that were learnt from other tasks."""

MAX_LENGTH = 1000
LENGTH = (
    "Prompt vectors, 1 to 1,000. By default as many as the init text has tokens, but of a sentence "
    "made from the task, which names all labels, 50 at most; without a text 20."
)
DEFAULT_LENGTH = 20  # of inits that have no length of their own
# The most vectors of a start from the task's own sentence, which grows with the labels.
_TASK_LENGTH = 50

# The inits that are given as `prompt`; without one, meta is the start shipped for the backbone.
GIVEN = ("prompt", META)

# The inits that are made of words.
_OF_WORDS = ("vocabulary", "labels")

# The settings that belong to one init.
_OF_INIT = {"patches": ("patches",), "vipamin": ("vipamin_k", "vipamin_lambda")}

# Lester et al. sample from the 5,000 most common tokens; ids are roughly sorted by frequency.
_COMMON = 5000


class StartSettings(MethodSettings):
    """Settings of a method whose vectors start somewhere among the embeddings.

    Attributes:
        prompt: the [P, H] rows of the inits "prompt" and "meta".
    """

    drawn_init: ClassVar[str] = "xavier"

    length: int | None = Field(default=None, ge=1, le=MAX_LENGTH, description=LENGTH)
    init: Init = Field(
        default="text",
        description="Where the vectors start. random: normal with the embedding table's RMS. "
        "vocabulary: sampled without replacement from common tokens. text: the embeddings of "
        "`text`, repeated or cut to the length. labels: the mean of each label's tokens, the rest "
        "from the vocabulary. prompt: a trained prompt's vectors, given as `prompt`. meta: vectors "
        "that were learnt from other tasks for this backbone, given as `prompt`, by default those "
        "that are shipped for it. xavier: uniform within Xavier's bound of the embedding, as in "
        "visual prompt tuning. patches: "
        "patch tokens of training images (SPT), see `patches`; what text becomes for a vision "
        "encoder. vipamin: means of patch tokens whose keys are like a drawn vector's, and what "
        "of that is in no patch token.",
    )
    text: str | None = Field(
        default=None,
        description="The text of the init text; by default a sentence made from the task.",
    )
    patches: PatchChoice = Field(
        default="sampled",
        exclude_if=lambda choice: choice == "sampled",
        description="Of the init patches: sampled patch tokens, or the means of k-means over them.",
    )
    vipamin_k: int = Field(
        default=8,
        ge=1,
        exclude_if=lambda count: count == 8,
        description="Of the init vipamin: of how many patch tokens a vector is the mean.",
    )
    vipamin_lambda: float = Field(
        default=0.1,
        ge=0,
        le=1,
        exclude_if=lambda share: share == 0.1,
        description="Of the init vipamin: the share of what is in no patch token.",
    )

    @model_validator(mode="after")
    def _complete(self) -> StartSettings:
        missing = self.init == "prompt" and self.prompt is None
        for init, inits, value in (
            ("text", ("text",), self.text),
            ("prompt", GIVEN, self.prompt),
        ):
            if missing or (self.init not in inits and value is not None):
                raise ConfigError(
                    "the init and what it starts from do not go together",
                    where=f"method {self.name}, init",
                    got=f"init={self.init!r} with {'no prompt' if missing else f'a {init}'}",
                    expected="init='text' for a text, init='prompt' with a prompt to start from, "
                    "init='meta' with a file of `cuecard meta-init` or without one",
                )
        for init, names in _OF_INIT.items():
            for name in names:
                if self.init != init and getattr(self, name) != _default(type(self), name):
                    raise ConfigError(
                        f"{name} is a setting of the init {init}",
                        where=f"method {self.name}, {name}",
                        got=f"init={self.init!r} with {name}={getattr(self, name)!r}",
                        expected=f"init={init!r}",
                    )
        return self

    @property
    def size(self) -> int:
        """P, of an init that has no length of its own."""
        return self.length or DEFAULT_LENGTH

    def layer_starts(self, context: InitContext, layers: int) -> Tensor:
        """[layers, P, H] float32 on the embeddings' device, of an init with each layer's own start.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        return LAYERED[self.init](self, context, layers).to(context.embeddings.device)

    def start(self, context: InitContext) -> Tensor:
        """[P, H] float32 on the embeddings' device: a copy of nothing.

        Raises:
            ConfigError: an init that this backbone or task cannot give.
        """
        if context.sees and self.init in _OF_WORDS:
            raise ConfigError(
                f"the init {self.init!r} is made of words, which a vision encoder has not",
                where=f"method {self.name}, init",
                got=f"init={self.init!r} for images",
                expected="patches, xavier, vipamin, random or prompt",
            )
        table = context.embeddings.detach().float().cpu()
        vectors = _INITS[self.init](self, context, table)
        return vectors.to(context.embeddings.device).clone()


def _default(settings: type[StartSettings], name: str) -> Any:
    return settings.model_fields[name].default


def text_ids(name: str, text: str | None, length: int | None, context: InitContext) -> list[int]:
    """The token ids of an init text, by default the task's, repeated or cut to the length.

    Args:
        name: the method's, for messages.

    Raises:
        ConfigError: a text without tokens, or one that is too long.
    """
    most = _TASK_LENGTH if text is None else None
    text = context.text if text is None else text
    ids = context.encode(text)
    if not ids:
        raise ConfigError(
            "the init text has no tokens",
            where=f"method {name}, text",
            got=repr(text),
            expected="a text of at least one token",
        )
    length = length or min(len(ids), most or len(ids))
    if length > MAX_LENGTH:
        raise ConfigError(
            "the init text is too long for a prompt",
            where=f"method {name}, text",
            got=f"{length} tokens",
            expected=f"at most {MAX_LENGTH:,} tokens, or a length to cut it to",
        )
    return (ids * (length // len(ids) + 1))[:length]


def rms(table: Tensor) -> Tensor:
    """Root mean square of all entries: the scale of a vector among embeddings."""
    return table.pow(2).mean().sqrt()


def _text(settings: StartSettings, context: InitContext, table: Tensor) -> Tensor:
    ids = text_ids(settings.name, settings.text, settings.length, context)
    return _looked_up(ids, settings, table)


def _looked_up(ids: Sequence[int], settings: StartSettings, table: Tensor) -> Tensor:
    """[P, H] the embeddings of ids, which a decoder with a vocabulary of its own may not have."""
    if max(ids) >= len(table):
        raise ConfigError(
            "the init has tokens that the embedding table has not",
            where=f"method {settings.name}, init",
            got=f"token {max(ids)}",
            expected=f"tokens below {len(table)}",
            hint="the decoder has a vocabulary of its own; take init=random or vocabulary",
        )
    return table[torch.tensor(ids)]


def _random(settings: StartSettings, context: InitContext, table: Tensor) -> Tensor:
    return torch.randn(settings.size, table.shape[1], generator=context.generator) * rms(table)


def _layered(settings: StartSettings, context: InitContext, table: Tensor) -> Tensor:
    return LAYERED[settings.init](settings, context, 1)[0]


def _vocabulary(settings: StartSettings, context: InitContext, table: Tensor) -> Tensor:
    return _sample(settings.size, settings, context, table)


def _sample(count: int, settings: StartSettings, context: InitContext, table: Tensor) -> Tensor:
    common = [i for i in range(len(table)) if i not in context.special_ids][: max(_COMMON, count)]
    if len(common) < count:
        raise ConfigError(
            "the vocabulary is smaller than the prompt",
            where=f"method {settings.name}, length",
            got=count,
            expected=f"at most {len(common)}",
        )
    order = torch.randperm(len(common), generator=context.generator)[:count]
    return table[torch.tensor(common)[order]]


def _labels(settings: StartSettings, context: InitContext, table: Tensor) -> Tensor:
    if not context.labels:
        raise ConfigError(
            "the init 'labels' needs a task with labels",
            where=f"method {settings.name}, init",
            got="a task with no label words",
            expected="random, vocabulary, text or prompt",
        )
    means = [_looked_up(ids, settings, table).mean(0) for ids in context.labels]
    rest = _sample(max(0, settings.size - len(means)), settings, context, table)
    return torch.cat([torch.stack(means), rest])[: settings.size]


def _prompt(settings: StartSettings, context: InitContext, table: Tensor) -> Tensor:
    if settings.prompt is None:
        raise ConfigError(
            "the init has nothing to start from",
            where=f"method {settings.name}, init",
            got=f"init={settings.init!r} without a prompt",
            expected="a prompt's vectors; `cuecard train` takes those that are shipped",
        )
    given = settings.prompt.detach().float().cpu()
    if given.ndim != 2 or given.shape[1] != table.shape[1]:
        raise ConfigError(
            "the prompt to start from does not fit this backbone",
            where=f"method {settings.name}, prompt",
            got=f"shape {tuple(given.shape)}",
            expected=f"shape (P, {table.shape[1]})",
        )
    length = settings.length or len(given)
    if length <= len(given):
        return given[:length]
    return torch.cat([given, _sample(length - len(given), settings, context, table)])


_INITS: dict[Init, Callable[[StartSettings, InitContext, Tensor], Tensor]] = {
    "random": _random,
    "vocabulary": _vocabulary,
    "text": _text,
    "labels": _labels,
    "prompt": _prompt,
    "meta": _prompt,
    "xavier": _layered,
    "patches": _layered,
    "vipamin": _layered,
}
