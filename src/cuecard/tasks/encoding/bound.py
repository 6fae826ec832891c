"""A task's settings with a tokenizer: what is the same for every record, worked out once."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

from cuecard.tasks.encoding.encoder import Encoder
from cuecard.tasks.encoding.label_words import LabelWords
from cuecard.tasks.encoding.tokens import closing_count, continuation_ids
from cuecard.tasks.settings import TaskSettings, contradiction
from cuecard.tasks.verbalizer import Verbalizer
from cuecard.types import Tokenizer


class BoundTask:
    """A task's template and words as token ids.

    Attributes:
        encoder: the template's encoder.
    """

    def __init__(self, spec: TaskSettings, tokenizer: Tokenizer) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self.encoder = Encoder(spec.parsed, tokenizer, spec.max_length)

    @cached_property
    def infix(self) -> Encoder:
        """The encoder that keeps the prompt's place in the template; see `Template.with_prompt`."""
        spec = self.spec
        return Encoder(spec.parsed.with_prompt, self.tokenizer, spec.max_length, infix=True)

    @cached_property
    def front(self) -> int:
        """The slot of a prompt before a text whose states a head reads.

        After what opens the text where a tokenizer closes its texts too, as those of encoders do.
        """
        return len(self.encoder.leading) if closing_count(self.tokenizer) else 0

    @cached_property
    def label_words(self) -> LabelWords:
        """The labels' words after the template.

        Raises:
            ConfigError: a word without tokens, or two with the same.
        """
        # At masks, words of different lengths are read after different inputs.
        spec = self.spec
        exclusive = spec.prefix_labels != "inclusive" and not spec.parsed.has_mask
        verbalizer = Verbalizer(spec.label_names)
        ids = verbalizer.continuations(self.tokenizer, self.encoder.after_space)
        return LabelWords.of(ids, exclusive=exclusive)

    @cached_property
    def words(self) -> dict[str, tuple[int, ...]]:
        """Label -> its word's ids."""
        return dict(zip(self.spec.labels, self.label_words.words, strict=True))

    @cached_property
    def barred(self) -> dict[str, tuple[int, ...]]:
        """Label -> the tokens that would make it another label."""
        return dict(zip(self.spec.labels, self.label_words.barred, strict=True))

    def option(self, text: str) -> tuple[int, ...]:
        """The ids of an option after the context.

        Raises:
            ConfigError: it has none.
        """
        ids = continuation_ids(self.tokenizer, text, self.encoder.after_space)
        if not ids:
            raise contradiction("an option without tokens", "options", repr(text), "some text")
        return ids

    def text(self, text: str) -> tuple[int, ...]:
        """The ids of a text to produce after the context, and the end token.

        Raises:
            ConfigError: the tokenizer has no end token.
        """
        end = self.tokenizer.eos_token_id
        if end is None:
            raise contradiction("no end token", "tokenizer", "none", "a tokenizer with one")
        ids = continuation_ids(self.tokenizer, text, self.encoder.after_space)
        return (*ids, int(end))


def bind(spec: TaskSettings, tokenizer: Tokenizer) -> BoundTask:
    """The settings with a tokenizer; the same object for the same two."""
    key: Any = tokenizer
    # The chat template is part of the key: it can be replaced on the same tokenizer. Equal specs
    # may differ in `prefix_labels`, which is not always saved.
    return _bind(spec, spec.prefix_labels, key, str(tokenizer.chat_template))


@lru_cache(maxsize=16)
def _bind(spec: TaskSettings, prefix_labels: str, tokenizer: Any, chat_template: str) -> BoundTask:
    return BoundTask(spec, tokenizer)
