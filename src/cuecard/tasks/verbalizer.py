"""Labels and their words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cuecard.errors import ConfigError
from cuecard.tasks.encoding.tokens import continuation_ids
from cuecard.tasks.similar import difference, shown
from cuecard.types import Tokenizer


@dataclass(frozen=True)
class Verbalizer:
    """Which word the model is to say for which label.

    Args:
        words: label -> word, in the labels' order. Space around a word is dropped: whether a
            word follows a space is decided by the context.
    """

    words: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in order."""
        return tuple(self.words)

    def continuations(
        self, tokenizer: Tokenizer, context_ends_with_space: bool
    ) -> tuple[tuple[int, ...], ...]:
        """Each label word's token ids, in the labels' order.

        Args:
            tokenizer: the backbone's tokenizer.
            context_ends_with_space: whether the context ends with whitespace; if not, each word
                gets a leading space.

        Raises:
            ConfigError: a word without tokens, or two labels with the same tokens.
        """
        seen: dict[tuple[int, ...], str] = {}
        for label, word in self.words.items():
            ids = continuation_ids(tokenizer, word.strip(), context_ends_with_space)
            if not word.strip() or not ids:
                raise ConfigError(
                    "a label's word has no tokens",
                    where=f"words, label {label!r}",
                    got=repr(word),
                    expected="a word the model can say",
                )
            if ids in seen:
                raise self._same_tokens(seen[ids], label)
            seen[ids] = label
        return tuple(seen)

    def _same_tokens(self, one: str, other: str) -> ConfigError:
        words = self.words[one], self.words[other]
        same = words[0].strip() == words[1].strip()
        return ConfigError(
            "two labels have the same word" if same else "the model reads two labels alike",
            where=f"labels {shown(one)} and {shown(other)}",
            got=repr(words[1]) if same else f"the same tokens; {difference(*words)}",
            expected="labels, or words for them (task.words), that the tokenizer tells apart",
        )

    def prefix_conflicts(
        self, tokenizer: Tokenizer, context_ends_with_space: bool
    ) -> tuple[tuple[str, str], ...]:
        """Pairs of labels (short, long) where the short word's tokens begin the long one's.

        By summed log-probability the long word could never score above the short one: see
        `LabelWords`.
        """
        words = dict(
            zip(self.labels, self.continuations(tokenizer, context_ends_with_space), strict=True)
        )
        return tuple(
            (short, long)
            for short, start in words.items()
            for long, ids in words.items()
            if short != long and ids[: len(start)] == start
        )
