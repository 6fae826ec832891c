"""The contenders: a file for each, and the one mapping from name to contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cuecard.comparison.contest.contender import Contender
from cuecard.comparison.contest.contenders.embedding_lr import EmbeddingRegression
from cuecard.comparison.contest.contenders.full import FullTuning
from cuecard.comparison.contest.contenders.in_words import InContext, ZeroShot
from cuecard.comparison.contest.contenders.lora import TunedLora
from cuecard.comparison.contest.contenders.lora_backbone import PromptOnLora
from cuecard.comparison.contest.contenders.lora_prompt import LoraWithPrompt
from cuecard.comparison.contest.contenders.majority import Majority
from cuecard.comparison.contest.contenders.prompts import TunedPrompt, UntrainedPrompt
from cuecard.comparison.contest.contenders.race import RacedMethods
from cuecard.comparison.contest.contenders.search import WordSearch
from cuecard.comparison.contest.contenders.tfidf import Tfidf
from cuecard.errors import ConfigError
from cuecard.tasks.similar import nearest

CONTENDERS: Mapping[str, Contender] = {
    "majority": Majority(),
    "tfidf": Tfidf(),
    "embedding-lr": EmbeddingRegression(),
    "zero-shot": ZeroShot(),
    "in-context": InContext(),
    "search": WordSearch(),
    "start": UntrainedPrompt(),
    "auto": RacedMethods(),
    "prompt-tuning": TunedPrompt("prompt-tuning"),
    "p-tuning": TunedPrompt("p-tuning"),
    "p-tuning-v2": TunedPrompt("p-tuning-v2"),
    "prefix-tuning": TunedPrompt("prefix-tuning"),
    "residual": TunedPrompt("residual"),
    "dept": TunedPrompt("dept"),
    "lora": TunedLora(),
    "lora+prompt": LoraWithPrompt(),
    "lora+prompt-tuning": PromptOnLora(),
    "full": FullTuning(),
}
"""In the order of the table."""


def chosen_contenders(names: Sequence[str]) -> dict[str, Contender]:
    """Contenders by name, in the order given.

    Raises:
        ConfigError: a name that is none.
    """
    for name in names:
        if name not in CONTENDERS:
            raise ConfigError(
                "there is no such contestant",
                where="contestants",
                got=name,
                expected=", ".join(CONTENDERS),
                hint=nearest(name, CONTENDERS),
            )
    return {name: CONTENDERS[name] for name in names}
